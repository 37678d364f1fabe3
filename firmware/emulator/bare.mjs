// Runs kernels alone on the emulated chip, without MicroPython, and counts their cycles.
//
//   node bare.mjs --image FILE [--skew 1] [--banks] [--flash-cache CYCLES] [--serve ADDRESS --share ADDRESS --box BYTES]
//
// Runs come on stdin, results go to stdout. The image is linked to the start of RAM. A run is the number of its calls,
// the bytes of the five memory spaces, each call (address of the kernel, offset of the record) and the spaces; a result
// is the bytes of stack that the deeper core took, each call's value and cycles, arena and state. Constants, records and
// weights lie in flash, the weights `skew` bytes behind an aligned address. With --serve, core 1 begins there on a box of
// so many bytes, and records go to --share, which gets the kernel's address besides.

import fs from 'fs';
import { parseArgs } from 'util';
import { RP2040 } from 'rp2040js';
import { Machine } from './machine.mjs';

const RAM = 0x20000000;
const FLASH = 0x10000000;
const STACKS = [RAM + 0x40000, RAM + 0x3e000]; // of each core; they grow down
const RETURN = STACKS[0] + 0x100;
const [SP, LR, PC] = [13, 14, 15];
const STACK_BYTES = 4096;
const TABLE_BYTES = 32; // the addresses of the spaces and of the box
const PAINT = 0xa5;
const MOST = 2e9; // instructions of one call

const { values } = parseArgs({ options: {
  'image': { type: 'string' },
  'skew': { type: 'string', default: '1' },
  'banks': { type: 'boolean', default: false },
  'flash-cache': { type: 'string', default: '0' },
  'serve': { type: 'string' },
  'share': { type: 'string' },
  'box': { type: 'string', default: '0' },
} });
const [skew, miss, serve, share, boxBytes] =
  ['skew', 'flash-cache', 'serve', 'share', 'box'].map(name => Number(values[name]));
const mcu = new RP2040();
mcu.logger = { debug() {}, info() {}, warn() {}, error() {} };
const fault = message => { throw new Error(`${message} (pc 0x${mcu.core.PC.toString(16)})`); };
const machine = new Machine(mcu, fault, { cores: serve ? 2 : 1, banks: values.banks, miss });
const image = fs.readFileSync(values.image);
const runs = fs.readFileSync(0);
mcu.sram.set(image);

const round = (n, to) => Math.ceil(n / to) * to;

// Puts the spaces into memory; returns their addresses, and that of a box or 0: arena, state and box in RAM, the others
// in flash.
function place(spaces) {
  let ram = RAM + round(image.length, 16) + 16;
  let flash = FLASH + 0x1000;
  const at = spaces.map((bytes, i) => {
    const here = i < 2 ? ram : flash + (i === 4 ? skew : 0);
    if (i < 2) {
      mcu.sram.set(bytes, here - RAM);
      ram = round(here + bytes.length, 4);
    } else {
      mcu.flash.set(bytes, here - FLASH);
      flash = round(here + bytes.length, 4);
    }
    return here;
  });
  return [...at, serve ? ram : 0];
}

// Core 1 begins to serve a box; returns when it waits.
function startServing(box) {
  machine.start(0, STACKS[1], serve);
  const r = machine.mcus[1].core.registers;
  r[0] = box;
  r[1] = boxBytes;
  while (!machine.mcus[1].core.waiting) { machine.step(1); }
}

// [value, cycles] of one kernel.
function call(address, offset, table) {
  const r = mcu.core.registers;
  for (let i = 4; i < 12; i++) { r[i] = 0xdead0000 + i; }
  r[0] = table;
  r[1] = offset;
  r[2] = address;
  r[SP] = table;
  r[LR] = RETURN | 1;
  r[PC] = (share || address) & ~1;
  const start = machine.now[0];
  let left = MOST;
  while (r[PC] !== RETURN) {
    if (serve) { machine.stepTogether(); } else { machine.step(0); }
    if (--left === 0) { throw new Error(`no end (pc 0x${r[PC].toString(16)})`); }
  }
  for (let i = 4; i < 12; i++) {
    if (r[i] !== 0xdead0000 + i) { throw new Error(`r${i} is not what it was before the call`); }
  }
  if (r[SP] !== table) { throw new Error('the stack pointer is not what it was before the call'); }
  return [r[0] | 0, machine.now[0] - start];
}

// Bytes of stack below `top` that are painted no more.
function deep(top) {
  let deepest = top - STACK_BYTES;
  while (mcu.sram[deepest - RAM] === PAINT) { deepest++; }
  return top - deepest;
}

function run(calls, spaces) {
  const at = place(spaces);
  const table = STACKS[0] - TABLE_BYTES;
  const tops = serve ? [table, STACKS[1]] : [table];
  mcu.sram.fill(0, table - RAM, table - RAM + TABLE_BYTES);
  at.forEach((where, i) => mcu.sramView.setUint32(table - RAM + 4 * i, where, true));
  tops.forEach(top => mcu.sram.fill(PAINT, top - STACK_BYTES - RAM, top - RAM));
  if (serve) { startServing(at[5]); }
  const done = calls.flatMap(([address, offset]) => call(address, offset, table));
  const kept = [0, 1].map(i => mcu.sram.slice(at[i] - RAM, at[i] - RAM + spaces[i].length));
  return Buffer.concat([Buffer.from(Int32Array.of(Math.max(...tops.map(deep)), ...done).buffer), ...kept]);
}

for (let i = 0; i < runs.length;) {
  const words = n => Array.from({ length: n }, () => { i += 4; return runs.readUInt32LE(i - 4); });
  const [count, ...sizes] = words(6);
  const calls = Array.from({ length: count }, () => words(2));
  const spaces = sizes.map(size => { i += size; return runs.subarray(i - size, i); });
  process.stdout.write(run(calls, spaces));
}
