// Runs kernels alone on the emulated core, without MicroPython, and counts their cycles.
// node bare.mjs IMAGE < calls > results. IMAGE is linked to the start of RAM. A call is 6 words (address, bytes of
// each of the five memory spaces) and the spaces; a result is value, cycles, bytes of stack, arena and state.
// Constants and steps lie in flash, weights too, at an odd address.

import fs from 'fs';
import { RP2040 } from 'rp2040js';
import { Core } from './core.mjs';

const RAM = 0x20000000;
const FLASH = 0x10000000;
const STACK = RAM + 0x40000; // grows down
const RETURN = STACK + 0x100;
const [SP, LR, PC] = [13, 14, 15];
const PAINT = 0xa5;
const MOST = 2e9; // instructions of one call

const mcu = new RP2040();
mcu.logger = { debug() {}, info() {}, warn() {}, error() {} };
const core = new Core(mcu, message => { throw new Error(`${message} (pc 0x${mcu.core.PC.toString(16)})`); });
const image = fs.readFileSync(process.argv[2]);
const calls = fs.readFileSync(0);
const code16 = new Uint16Array(mcu.sram.buffer);
mcu.sram.set(image);

const round = (n, to) => Math.ceil(n / to) * to;

// Puts the spaces into memory; returns their addresses: arena and state in RAM, the others in flash.
function place(spaces) {
  let ram = RAM + round(image.length, 16) + 16;
  let flash = FLASH + 0x1000;
  return spaces.map((bytes, i) => {
    const at = i < 2 ? ram : flash + (i === 4 ? 1 : 0);
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

function call(address, spaces) {
  const r = mcu.core.registers;
  const at = place(spaces);
  const table = STACK - 32;
  at.forEach((where, i) => mcu.sramView.setUint32(table - RAM + 4 * i, where, true));
  mcu.sram.fill(PAINT, table - 4096 - RAM, table - RAM);
  for (let i = 4; i < 12; i++) { r[i] = 0xdead0000 + i; }
  r[0] = table;
  r[1] = 0;
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
  let deepest = table - 4096;
  while (mcu.sram[deepest - RAM] === PAINT) { deepest++; }
  const head = Buffer.alloc(12);
  head.writeInt32LE(r[0] | 0, 0);
  head.writeUInt32LE(cycles, 4);
  head.writeUInt32LE(table - deepest, 8);
  const left2 = [0, 1].map(i => mcu.sram.slice(at[i] - RAM, at[i] - RAM + spaces[i].length));
  return Buffer.concat([head, ...left2]);
}

for (let i = 0; i < calls.length;) {
  const head = [0, 1, 2, 3, 4, 5].map(n => calls.readUInt32LE(i + 4 * n));
  i += 24;
  const spaces = head.slice(1).map(size => { i += size; return calls.subarray(i - size, i); });
  fs.writeSync(1, call(head[0], spaces));
}
