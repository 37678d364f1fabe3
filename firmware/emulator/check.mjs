// Compares core.mjs with rp2040js's own core, one instruction at a time: every opcode with random registers,
// flags and memory. node check.mjs [rounds]; prints the first differences and exits with 1 if there are any.

import { RP2040 } from 'rp2040js';
import { Core } from './core.mjs';

const RAM = 0x20000000;
const CODE = RAM + 0x20000; // the instruction; data lies below it
const WORDS = 768; // memory that is compared, around the middle of the data
const MIDDLE = RAM + 0x8000;

let seed = 1;
function random() { // xorshift32
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  return seed >>> 0;
}

const edges = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 31, 32, 33, 255];

// Left out: system instructions, which core.mjs hands to rp2040js; BX and POP to PC are left in.
function skipped(opcode) {
  return opcode >> 8 === 0xbe || opcode >> 8 === 0xbf || opcode >> 8 === 0xb6 // bkpt, hints, cps
    || opcode >> 9 === 0b1101111 || opcode >> 11 === 0b11101 || opcode >> 12 === 0b1111 // udf, svc, 32 bits
    || /^(1011(0001|0011|1001|1011)|1011011|10111000|101110101[01]|1011101010)/.test(opcode.toString(2))
    || (opcode >> 8 === 0x47 && opcode & 7);
}

// Where rp2040js is known to differ from the architecture manual.
function known(opcode, before) {
  const [m, n] = [before[(opcode >> 3) & 7], before[opcode & 7]];
  const shift = m & 255;
  const edge = x => x === 0x7fffffff || x === 0xffffffff;
  return [0b0100000010, 0b0100000011, 0b0100000100, 0b0100000111].includes(opcode >> 6)
    && (shift === 0 || shift > 31) // carry of a shift by register
    || [0b0100000101, 0b0100000110].includes(opcode >> 6) && (edge(m) || edge(n)) // overflow of adcs and sbcs
    || opcode >> 11 === 0b11000 && opcode & (1 << ((opcode >> 8) & 7)) // stmia always writes back
    || opcode === 0x47f0; // blx lr goes where lr pointed before
}

function machine() {
  const mcu = new RP2040();
  mcu.logger = { debug() {}, info() {}, warn() {}, error() {} };
  const core = new Core(mcu, message => { throw new Error(message); });
  return { mcu, core, words: new Uint32Array(mcu.sram.buffer) };
}

function set({ mcu, words }, opcode, registers, flags, memory) {
  const { core } = mcu;
  core.registers.set(registers);
  core.PC = CODE;
  [core.N, core.Z, core.C, core.V] = flags;
  words.set(memory, (MIDDLE - RAM) / 4 - WORDS / 2);
  mcu.sramView.setUint16(CODE - RAM, opcode, true);
  mcu.bootrom.fill(0, 0, 64); // rp2040js lets stores change it
  core.interruptsUpdated = false;
}

const flagNames = ['N', 'Z', 'C', 'V'];

// The first thing in which two machines differ, as text, or null.
function difference(ours, theirs) {
  for (let i = 0; i < 16; i++) {
    const [a, b] = [ours, theirs].map(one => one.mcu.core.registers[i] & (i === 15 ? ~1 : ~0));
    if (a !== b) { return `r${i} ${a} instead of ${b}`; }
  }
  const flag = flagNames.find(name => ours.mcu.core[name] !== theirs.mcu.core[name]);
  if (flag) { return `flag ${flag} ${ours.mcu.core[flag]}`; }
  const first = (MIDDLE - RAM) / 4 - WORDS / 2;
  for (let i = first; i < first + WORDS; i++) {
    if (ours.words[i] !== theirs.words[i]) { return `memory ${ours.words[i]} instead of ${theirs.words[i]}`; }
  }
  return null;
}

function main(rounds) {
  const [ours, theirs] = [machine(), machine()];
  const memory = Uint32Array.from({ length: WORDS }, random);
  let compared = 0;
  let wrong = 0;
  for (let round = 0; round < rounds; round++) {
    for (let opcode = 0; opcode < 65536; opcode++) {
      if (skipped(opcode)) { continue; }
      const group = opcode >> 12;
      const addressed = group >= 5 && group <= 13 && group !== 10 && opcode >> 8 !== 0xb2;
      const any = () => (random() & 3 ? random() : edges[random() % edges.length]);
      const registers = Array.from({ length: 16 }, any);
      if (addressed || opcode >> 11 === 0b01001) { // pointers into the data, and small offsets
        for (let i = 0; i < 8; i++) { registers[i] = i & 1 ? MIDDLE + (random() & 0xfc) : random() & 0x3c; }
        registers[(opcode >> 8) & 7] = registers[(opcode >> 3) & 7] = MIDDLE + (random() & 0xfc);
        registers[(opcode >> 6) & 7] = opcode >> 12 === 5 ? random() & 0x3c : registers[(opcode >> 6) & 7];
      }
      registers[13] = MIDDLE + (random() & 0xfc);
      const n = !!(random() & 1);
      const flags = [n, !n && !!(random() & 1), !!(random() & 1), !!(random() & 1)];
      if (known(opcode, registers)) { continue; }
      for (let i = 0; i < 8; i++) { memory[random() % WORDS] = random(); }
      for (const one of [ours, theirs]) { set(one, opcode, registers, flags, memory); }
      let fault = null;
      try {
        ours.core.fill();
        ours.core.run(1);
        ours.core.spill();
      } catch (error) {
        fault = error.message;
      }
      if (fault) { continue; } // an access that rp2040js would let pass
      theirs.mcu.core.executeInstruction();
      compared++;
      const found = difference(ours, theirs);
      if (found && wrong++ < 10) { console.log(`opcode ${opcode.toString(2).padStart(16, '0')}: ${found}`); }
    }
  }
  console.log(JSON.stringify({ compared, wrong }));
  process.exit(wrong ? 1 : 0);
}

main(Number(process.argv[2] ?? 1));
