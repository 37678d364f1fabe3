// The RP2040's mask ROM, served from JavaScript. The emulator brings no ROM image, and the real one is not
// ours to ship. Each ROM function is the two instructions `bkpt #n; bx lr`; the break hook runs handler n
// on the core's registers and adds what the real routine costs in cycles.

const ROM_WORDS = 4096;
const STUBS = 0x100; // the stubs begin here, the tables follow them
const BKPT = 0xbe00;
const BX_LR = 0x4770;
const MAGIC = 0x10; // 'M', 'u', 1, version; then three halfword pointers: functions, data, lookup
const ROM_VERSION = 3;

// W25Q16JV, typical: 45 ms for each 4 KB sector, 0.4 ms for each 256-byte page; in cycles of 125 MHz.
const SECTOR_ERASE = 45e-3 * 125e6;
const PAGE_PROGRAM = 0.4e-3 * 125e6;

const code = name => name.charCodeAt(0) | (name.charCodeAt(1) << 8);

// Registers hold the bits of floats. Like the ROM, denormals count as zero on the way in and out.
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
const double = new Float64Array(1);
const halves = new Uint32Array(double.buffer);

function toFloat(register) {
  bits[0] = register & 0x7f800000 ? register : register & 0x80000000;
  return float[0];
}

function fromFloat(value) {
  float[0] = value;
  return bits[0] & 0x7f800000 ? bits[0] : bits[0] & 0x80000000;
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const clampInt = (x, low, high) => (Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.floor(x))));
const toInt = x => clampInt(x, -(2 ** 31), 2 ** 31 - 1) >>> 0;
const toUint = x => clampInt(x, 0, 2 ** 32 - 1) >>> 0;
const clampBig = (x, low, high) => (x <= low ? low : x >= high ? high : x);
const big = (x, low, high) =>
  Number.isNaN(x) ? 0n : Number.isFinite(x) ? clampBig(BigInt(Math.floor(x)), low, high) : x < 0 ? low : high;
const toInt64 = x => big(x, -(2n ** 63n), 2n ** 63n - 1n);
const toUint64 = x => big(x, 0n, 2n ** 64n - 1n);

// A handler takes the registers r, and the core that called, and works in place; [handler, cycles].
const unary = (f, cycles) => [r => { r[0] = fromFloat(f(toFloat(r[0]))); }, cycles];
const binary = (f, cycles) => [r => { r[0] = fromFloat(f(toFloat(r[0]), toFloat(r[1]))); }, cycles];
const int64 = r => BigInt.asIntN(64, (BigInt(r[1]) << 32n) | BigInt(r[0]));
const uint64 = r => (BigInt(r[1]) << 32n) | BigInt(r[0]);

function setBig(r, value) {
  const word = BigInt.asUintN(64, value);
  r[0] = Number(word & 0xffffffffn);
  r[1] = Number(word >> 32n);
}

function bitReverse(x) {
  let y = 0;
  for (let i = 0; i < 32; i++) { y = (y << 1) | ((x >>> i) & 1); }
  return y >>> 0;
}

function popCount(x) {
  let count = 0;
  for (; x; x &= x - 1) { count++; }
  return count;
}

// The 'SF' table of ROM version 2 and later, in its order: offset 4 * row.
function softFloat() {
  const flags = (r, core) => {
    const order = compare(toFloat(r[0]), toFloat(r[1]));
    core.N = order < 0;
    core.Z = order === 0;
    core.C = order >= 0;
    core.V = false;
  };
  const ordered = r => { r[0] = compare(toFloat(r[0]), toFloat(r[1])) >>> 0; };
  return [
    binary((a, b) => a + b, 74),
    binary((a, b) => a - b, 74),
    binary((a, b) => a * b, 69),
    binary((a, b) => a / b, 71),
    [ordered, 50],
    [flags, 50],
    unary(Math.sqrt, 63),
    [r => { r[0] = toInt(toFloat(r[0])); }, 40],
    [r => { r[0] = toInt(toFloat(r[0]) * 2 ** r[1]); }, 40],
    [r => { r[0] = toUint(toFloat(r[0])); }, 40],
    [r => { r[0] = toUint(toFloat(r[0]) * 2 ** r[1]); }, 40],
    [r => { r[0] = fromFloat(r[0] | 0); }, 55],
    [r => { r[0] = fromFloat((r[0] | 0) / 2 ** r[1]); }, 55],
    [r => { r[0] = fromFloat(r[0]); }, 55],
    [r => { r[0] = fromFloat(r[0] / 2 ** r[1]); }, 55],
    unary(Math.cos, 600),
    unary(Math.sin, 600),
    unary(Math.tan, 600),
    [r => { const x = toFloat(r[0]); r[0] = fromFloat(Math.sin(x)); r[1] = fromFloat(Math.cos(x)); }, 600],
    unary(Math.exp, 500),
    unary(Math.log, 500),
    [ordered, 50],
    binary(Math.atan2, 600),
    [r => { r[0] = fromFloat(Number(int64(r))); }, 60],
    [r => { r[0] = fromFloat(Number(int64(r)) / 2 ** r[2]); }, 60],
    [r => { r[0] = fromFloat(Number(uint64(r))); }, 60],
    [r => { r[0] = fromFloat(Number(uint64(r)) / 2 ** r[2]); }, 60],
    [r => { setBig(r, toInt64(toFloat(r[0]))); }, 60],
    [r => { setBig(r, toInt64(toFloat(r[0]) * 2 ** r[1])); }, 60],
    [r => { setBig(r, toUint64(toFloat(r[0]))); }, 60],
    [r => { setBig(r, toUint64(toFloat(r[0]) * 2 ** r[1])); }, 60],
    [r => { double[0] = toFloat(r[0]); r[0] = halves[0]; r[1] = halves[1]; }, 40],
  ];
}

// Functions by their two-letter code. `board` serves what leaves the chip: flashChanged(start, length),
// flushCache() and usbBoot().
function functions(mcu, board) {
  const memory = (address, length) => {
    const [bytes, start] = address >= 0x20000000
      ? [mcu.sram, address - 0x20000000]
      : address >= 0x10000000
        ? [mcu.flash, address & 0xffffff]
        : [new Uint8Array(mcu.bootrom.buffer), address];
    return bytes.subarray(start, start + length);
  };
  const fill = (r, core) => { memory(r[0], r[2]).fill(r[1] & 0xff); core.cycles += r[2]; };
  const copy = (r, core) => { memory(r[0], r[2]).set(memory(r[1], r[2]).slice()); core.cycles += r[2]; };
  const nothing = () => {};

  function erase(r, core) {
    const [start, length] = [r[0], r[1]];
    mcu.flash.fill(0xff, start, start + length);
    core.cycles += Math.ceil(length / 4096) * SECTOR_ERASE;
    board.flashChanged(start, length);
  }

  function program(r, core) { // flash only ever clears bits
    const [start, length] = [r[0], r[2]];
    const data = memory(r[1], length);
    for (let i = 0; i < length; i++) { mcu.flash[start + i] &= data[i]; }
    core.cycles += Math.ceil(length / 256) * PAGE_PROGRAM;
    board.flashChanged(start, length);
  }

  return {
    P3: [r => { r[0] = popCount(r[0]); }, 20],
    R3: [r => { r[0] = bitReverse(r[0]); }, 20],
    L3: [r => { r[0] = Math.clz32(r[0]); }, 20],
    T3: [r => { r[0] = r[0] ? 31 - Math.clz32(r[0] & -r[0]) : 32; }, 20],
    MS: [fill, 20],
    S4: [fill, 20],
    MC: [copy, 20],
    C4: [copy, 20],
    IF: [nothing, 20],
    EX: [nothing, 20],
    FC: [() => board.flushCache(), 20],
    CX: [nothing, 20],
    RE: [erase, 20],
    RP: [program, 20],
    UB: [() => board.usbBoot(), 20],
  };
}

// Writes the ROM image into the emulated chip and takes its break hook. A break outside the ROM is a fault of
// the firmware and goes to board.fault(message).
export function installBootrom(mcu, board) {
  const rom = new Uint32Array(ROM_WORDS);
  const view = new DataView(rom.buffer);
  const handlers = [];
  let end = STUBS;

  const stub = handler => {
    view.setUint16(end, BKPT | handlers.length, true);
    view.setUint16(end + 2, BX_LR, true);
    handlers.push(handler);
    end += 4;
    return (end - 4) | 1;
  };
  const pairs = rows => {
    const start = end;
    for (const [name, pointer] of rows) {
      view.setUint16(end, code(name), true);
      view.setUint16(end + 2, pointer, true);
      end += 4;
    }
    end += 4; // a zero code ends the table
    return start;
  };
  const words = values => {
    const start = end;
    for (const value of values) {
      view.setUint32(end, value, true);
      end += 4;
    }
    return start;
  };
  const lookup = r => { // (table, code) -> pointer, or 0
    let row = r[0];
    const wanted = r[1];
    while (view.getUint16(row, true) && view.getUint16(row, true) !== wanted) { row += 4; }
    r[0] = view.getUint16(row, true) ? view.getUint16(row + 2, true) : 0;
  };
  const refuseDouble = () => board.fault('a double-precision ROM function was called: none is emulated');

  const functionStubs = Object.entries(functions(mcu, board)).map(([name, row]) => [name, stub(row)]);
  const floatStubs = softFloat().map(stub);
  const doubleStub = stub([refuseDouble, 0]);
  const lookupStub = stub([lookup, 50]);

  words([floatStubs.length << 16]); // the entry count stands two bytes before the float table
  const floatTable = words(floatStubs);
  const doubleTable = words(floatStubs.map(() => doubleStub));
  const functionTable = pairs(functionStubs);
  const dataTable = pairs([['SF', floatTable], ['SD', doubleTable]]);

  [0x4d, 0x75, 1, ROM_VERSION].forEach((byte, i) => view.setUint8(MAGIC + i, byte));
  [functionTable, dataTable, lookupStub].forEach((pointer, i) => {
    view.setUint16(MAGIC + 4 + 2 * i, pointer, true);
  });
  mcu.bootrom.set(rom);

  mcu.onBreak = function onBreak(number) { // of either core: `this` is the chip as the core sees it
    const { core } = this;
    const handler = core.PC < 4 * ROM_WORDS ? handlers[number] : null;
    if (!handler) {
      board.fault(`the firmware stopped at bkpt ${number}, pc 0x${core.PC.toString(16)}`);
      return;
    }
    handler[0](core.registers, core);
    core.cycles += handler[1];
  };
}
