// Runs kernels alone on the emulated core, without MicroPython, and counts their cycles.
// node bare.mjs IMAGE SKEW < runs > results. IMAGE is linked to the start of RAM. A run is the number of its calls, the
// bytes of the five memory spaces, each call (address of the kernel, offset of the record) and the spaces; a result is
// the bytes of stack, each call's value and cycles, arena and state. Constants, records and weights lie in flash, the
// weights SKEW bytes behind an aligned address.

import fs from 'fs';
import { RP2040 } from 'rp2040js';
import { Core } from './core.mjs';

const RAM = 0x20000000;
const FLASH = 0x10000000;
const STACK = RAM + 0x40000; // grows down
const RETURN = STACK + 0x100;
const [SP, LR, PC] = [13, 14, 15];
const STACK_BYTES = 4096;
const PAINT = 0xa5;
const MOST = 2e9; // instructions of one call

const mcu = new RP2040();
mcu.logger = { debug() {}, info() {}, warn() {}, error() {} };
const core = new Core(mcu, message => { throw new Error(`${message} (pc 0x${mcu.core.PC.toString(16)})`); });
const image = fs.readFileSync(process.argv[2]);
const runs = fs.readFileSync(0);
const skew = Number(process.argv[3]);
const code16 = new Uint16Array(mcu.sram.buffer);
mcu.sram.set(image);

const round = (n, to) => Math.ceil(n / to) * to;

// Puts the spaces into memory; returns their addresses: arena and state in RAM, the others in flash.
function place(spaces) {
  let ram = RAM + round(image.length, 16) + 16;
  let flash = FLASH + 0x1000;
  return spaces.map((bytes, i) => {
    const at = i < 2 ? ram : flash + (i === 4 ? skew : 0);
    if (i < 2) {
      mcu.sram.set(bytes, at - RAM);
      ram = round(at + bytes.length, 4);
    } else {
      mcu.flash.set(bytes, at - FLASH);
      flash = round(at + bytes.length, 4);
    }
    return at;
  });
}

// [value, cycles] of one kernel.
function call(address, offset, table) {
  const r = mcu.core.registers;
  for (let i = 4; i < 12; i++) { r[i] = 0xdead0000 + i; }
  r[0] = table;
  r[1] = offset;
  r[SP] = table;
  r[LR] = RETURN | 1;
  r[PC] = address & ~1;
  let cycles = 0;
  let left = MOST;
  while (r[PC] !== RETURN) {
    const opcode = code16[(r[PC] - RAM) >>> 1];
    r[PC] += 2;
    cycles += core.handlers[opcode](opcode);
    if (--left === 0) { throw new Error(`no end (pc 0x${r[PC].toString(16)})`); }
  }
  for (let i = 4; i < 12; i++) {
    if (r[i] !== 0xdead0000 + i) { throw new Error(`r${i} is not what it was before the call`); }
  }
  if (r[SP] !== table) { throw new Error('the stack pointer is not what it was before the call'); }
  return [r[0] | 0, cycles];
}

function run(calls, spaces) {
  const at = place(spaces);
  const table = STACK - 32;
  const bottom = table - STACK_BYTES;
  at.forEach((where, i) => mcu.sramView.setUint32(table - RAM + 4 * i, where, true));
  mcu.sram.fill(PAINT, bottom - RAM, table - RAM);
  const done = calls.flatMap(([address, offset]) => call(address, offset, table));
  let deepest = bottom;
  while (mcu.sram[deepest - RAM] === PAINT) { deepest++; }
  const kept = [0, 1].map(i => mcu.sram.slice(at[i] - RAM, at[i] - RAM + spaces[i].length));
  return Buffer.concat([Buffer.from(Int32Array.of(table - deepest, ...done).buffer), ...kept]);
}

for (let i = 0; i < runs.length;) {
  const words = n => Array.from({ length: n }, () => { i += 4; return runs.readUInt32LE(i - 4); });
  const [count, ...sizes] = words(6);
  const calls = Array.from({ length: count }, () => words(2));
  const spaces = sizes.map(size => { i += size; return runs.subarray(i - size, i); });
  process.stdout.write(run(calls, spaces));
}
