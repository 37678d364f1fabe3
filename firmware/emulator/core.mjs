// The Cortex-M0+ of the emulated RP2040, five times as fast as rp2040js's own: every 16-bit opcode has its
// handler in a table, RAM and flash are typed arrays, flags stay in the form in which they were computed.
// Peripherals, exceptions and system instructions remain rp2040js's. check.mjs compares the two.
//
// A handler takes the opcode and returns its cycles, after the Cortex-M0+ manual, with zero wait states.

const RAM = 0x20000000;
const RAM_BYTES = 264 * 1024;
const ROM_BYTES = 16 * 1024;
const HANDLER_MODE = 1;
const EXCEPTION_ENTRY = 15; // cycles
export const NAP = 100; // instructions that a nap counts as
const [SP, LR, PC] = [13, 14, 15];
const [NZ, C, V] = [0, 1, 2]; // flags: the last result (N: negative, Z: zero), carry, overflow

export class Core {
  // fault(message) is called for what a real core answers with a hard fault; memory.access(address), if there is
  // one, for each word that a load or a store touches.
  constructor(mcu, fault, memory = null) {
    this.mcu = mcu;
    this.flash16 = new Uint16Array(mcu.flash.buffer);
    this.sram16 = new Uint16Array(mcu.sram.buffer);
    this.stopped = false; // set it to leave run() after the current instruction
    const flags = new Int32Array(3);
    this.spill = () => spill(mcu.core, flags);
    this.fill = () => fill(mcu.core, flags);
    this.handlers = handlers(mcu, flags, fault, memory);
  }

  // Runs up to `count` instructions; returns how many nanoseconds the core slept.
  run(count) {
    const { mcu } = this;
    const { core, clock } = mcu;
    const nanosPerCycle = 1e9 / mcu.clkSys;
    let slept = 0;
    for (let n = 0; n < count && !this.stopped; n++) {
      if (core.waiting) {
        slept += this.nap();
        n += NAP - 1;
        continue;
      }
      const cycles = this.step();
      const nanos = cycles * nanosPerCycle;
      const alarm = clock.nextAlarm;
      if (alarm && alarm.nanos <= clock.nanosCounter + nanos) { clock.tick(nanos); } else { clock.nanosCounter += nanos; }
    }
    return slept;
  }

  // One instruction, after an interrupt that is due; returns cycles.
  step() {
    const { mcu } = this;
    const { core } = mcu;
    const r = core.registers;
    let cycles = 0;
    if (core.interruptsUpdated) {
      this.spill();
      if (core.checkForInterrupts()) { cycles = EXCEPTION_ENTRY; }
      this.fill();
    }
    const pc = r[PC];
    const offset = (pc - RAM) >>> 0;
    const opcode = pc >>> 24 === 0x10 ? this.flash16[(pc & 0xffffff) >>> 1]
      : offset < RAM_BYTES ? this.sram16[offset >>> 1] : mcu.readUint16(pc & ~1);
    r[PC] = pc + 2;
    return cycles + this.handlers[opcode](opcode);
  }

  // The clock of a core that waits jumps to the next alarm; returns nanoseconds.
  nap() {
    const { core, clock } = this.mcu;
    const nanos = clock.nanosToNextAlarm || 1000;
    clock.tick(nanos);
    core.registers[PC] &= ~1; // rp2040js leaves the Thumb bit of an interrupt's vector there
    return nanos;
  }
}

function spill(core, flags) {
  core.N = flags[NZ] < 0;
  core.Z = flags[NZ] === 0;
  core.C = flags[C] === 1;
  core.V = flags[V] === 1;
}

function fill(core, flags) {
  flags[NZ] = core.Z ? 0 : core.N ? -1 : 1;
  flags[C] = core.C ? 1 : 0;
  flags[V] = core.V ? 1 : 0;
  core.registers[PC] &= ~1; // see run()
}

// The 65536 handlers, from rows of [the opcode's leading bits, handler].
function handlers(mcu, flags, fault, memory) {
  const { core } = mcu;
  const system = () => { // what is rare enough to be left to rp2040js
    core.registers[PC] -= 2;
    spill(core, flags);
    const before = core.cycles;
    core.executeInstruction();
    fill(core, flags);
    return core.cycles - before;
  };
  const table = new Array(65536).fill(system);
  for (const [bits, handler] of instructions(mcu, flags, fault, memory, system)) {
    const free = 16 - bits.length;
    const first = parseInt(bits, 2) << free;
    table.fill(handler, first, first + (1 << free));
  }
  return table;
}

function instructions(mcu, flags, fault, memory, system) {
  const { core } = mcu;
  const r = core.registers; // unsigned
  const s = new Int32Array(r.buffer); // the same registers, signed
  const ram8 = mcu.sram;
  const ram16 = new Uint16Array(mcu.sram.buffer);
  const ram32 = new Int32Array(mcu.sram.buffer);
  const flash8 = mcu.flash;
  const flash16 = new Uint16Array(mcu.flash.buffer);
  const flash32 = new Int32Array(mcu.flash.buffer);

  const hex = address => `0x${(address >>> 0).toString(16)}`;
  const isFlash = address => address >>> 24 === 0x10;

  // Before a slow access; false where it has no effect. The ROM takes stores and keeps nothing: TinyUSB
  // stores through a null pointer.
  function check(address, mask, store) {
    const where = address >>> 0;
    if (where & mask) { fault(`unaligned access to ${hex(where)}`); }
    const block = where >>> 28;
    const known = block === 0 ? where < ROM_BYTES
      : block === 1 ? !store || where >= 0x14000000 : block === 4 || block === 5 || block >= 0xd;
    if (!known) { fault(`${store ? 'store to' : 'load from'} ${hex(where)}, where nothing is`); }
    return block !== 0 || !store;
  }

  // --- memory: one path for RAM, one for flash, one for everything else ---

  function plainLoad32(address) {
    const offset = (address - RAM) >>> 0;
    if ((address & 3) === 0) {
      if (offset < RAM_BYTES) { return ram32[offset >>> 2]; }
      if (isFlash(address)) { return flash32[(address & 0xffffff) >>> 2]; }
    }
    check(address, 3, false);
    return core.readUint32(address >>> 0) | 0;
  }

  function plainLoad16(address) {
    const offset = (address - RAM) >>> 0;
    if ((address & 1) === 0) {
      if (offset < RAM_BYTES) { return ram16[offset >>> 1]; }
      if (isFlash(address)) { return flash16[(address & 0xffffff) >>> 1]; }
    }
    check(address, 1, false);
    return core.readUint16(address >>> 0);
  }

  function plainLoad8(address) {
    const offset = (address - RAM) >>> 0;
    if (offset < RAM_BYTES) { return ram8[offset]; }
    if (isFlash(address)) { return flash8[address & 0xffffff]; }
    check(address, 0, false);
    return core.readUint8(address >>> 0);
  }

  function plainStore32(address, value) {
    const offset = (address - RAM) >>> 0;
    if (offset < RAM_BYTES && (address & 3) === 0) {
      ram32[offset >>> 2] = value;
      return;
    }
    if (check(address, 3, true)) { core.writeUint32(address >>> 0, value >>> 0); }
  }

  function plainStore16(address, value) {
    const offset = (address - RAM) >>> 0;
    if (offset < RAM_BYTES && (address & 1) === 0) {
      ram16[offset >>> 1] = value;
      return;
    }
    if (check(address, 1, true)) { core.writeUint16(address >>> 0, value & 0xffff); }
  }

  function plainStore8(address, value) {
    const offset = (address - RAM) >>> 0;
    if (offset < RAM_BYTES) {
      ram8[offset] = value;
      return;
    }
    if (check(address, 0, true)) { core.writeUint8(address >>> 0, value & 0xff); }
  }

  const noted = f => (memory ? (address, value) => { memory.access(address); return f(address, value); } : f);
  const [load32, load16, load8] = [plainLoad32, plainLoad16, plainLoad8].map(noted);
  const [store32, store16, store8] = [plainStore32, plainStore16, plainStore8].map(noted);

  // cycles of one load or store
  const access = address => (address >>> 30 === 0 ? 2 : 1 + core.cyclesIO(address));

  // --- arithmetic: operands are int32, results too ---

  function add(a, b, carry) {
    const sum = (a + b + carry) | 0;
    flags[NZ] = sum;
    flags[C] = ((a & b) | ((a | b) & ~sum)) >>> 31;
    flags[V] = ((a ^ sum) & (b ^ sum)) >>> 31;
    return sum;
  }

  const logic = value => (flags[NZ] = value);

  // Shifts by a register's low byte: 0 leaves the carry, 32 and more push everything out.
  function left(x, n) {
    if (n === 0) { return logic(x); }
    flags[C] = n <= 32 ? (x >>> (32 - n)) & 1 : 0;
    return logic(n < 32 ? x << n : 0);
  }

  function right(x, n) {
    if (n === 0) { return logic(x); }
    flags[C] = n <= 32 ? (x >>> (n - 1)) & 1 : 0;
    return logic(n < 32 ? (x >>> n) | 0 : 0);
  }

  function rightSigned(x, n) {
    if (n === 0) { return logic(x); }
    flags[C] = (x >> Math.min(n - 1, 31)) & 1;
    return logic(x >> Math.min(n, 31));
  }

  function rotate(x, n) {
    if (n === 0) { return logic(x); }
    const result = (x >>> (n & 31)) | (x << (32 - (n & 31)));
    flags[C] = result >>> 31;
    return logic(result);
  }

  function branch(target) { // an address, or what the core put into LR on exception entry
    if (target >>> 28 === 0xf && core.currentMode === HANDLER_MODE) {
      spill(core, flags);
      core.exceptionReturn(target & 0x0fffffff);
      fill(core, flags);
    } else {
      r[PC] = target & ~1;
    }
  }

  const low = op => op & 7; // Rd, or Rdn of a two-operand instruction
  const mid = op => (op >> 3) & 7; // Rn or Rm
  const top = op => (op >> 6) & 7; // Rm
  const wide = op => (op >> 8) & 7; // Rd or Rn of an 8-bit immediate
  const imm5 = op => (op >> 6) & 31;
  const imm8 = op => op & 255;
  const high = op => ((op >> 4) & 8) | (op & 7); // Rdn out of all sixteen
  const any = op => (op >> 3) & 15; // Rm out of all sixteen
  const value = index => (index === PC ? r[PC] + 2 : r[index]);

  // A row for each size and addressing mode: the address comes from `where`.
  const load = (bits, fetch, where, register = low) => [bits, op => {
    const address = where(op);
    const cycles = access(address);
    s[register(op)] = fetch(address);
    return cycles;
  }];
  const store = (bits, put, where, register = low) => [bits, op => {
    const address = where(op);
    put(address, s[register(op)]);
    return access(address);
  }];
  const indexed = op => (s[mid(op)] + s[top(op)]) | 0;
  const offset = scale => op => (s[mid(op)] + (imm5(op) << scale)) | 0;
  const stack = op => (s[SP] + (imm8(op) << 2)) | 0;
  const literal = op => (((s[PC] + 2) & ~3) + (imm8(op) << 2)) | 0;

  const one = (bits, work) => [bits, op => { work(op); return 1; }];
  const alu = (bits, work) => [bits, op => { // Rdn = work(Rdn, Rm)
    s[low(op)] = work(s[low(op)], s[mid(op)]);
    return 1;
  }];
  const compare = (bits, work) => [bits, op => { work(s[low(op)], s[mid(op)]); return 1; }];

  const conditions = [
    () => flags[NZ] === 0, () => flags[NZ] !== 0, // eq ne
    () => flags[C] === 1, () => flags[C] === 0, // cs cc
    () => flags[NZ] < 0, () => flags[NZ] >= 0, // mi pl
    () => flags[V] === 1, () => flags[V] === 0, // vs vc
    () => flags[C] === 1 && flags[NZ] !== 0, () => flags[C] === 0 || flags[NZ] === 0, // hi ls
    () => (flags[NZ] < 0) === (flags[V] === 1), () => (flags[NZ] < 0) !== (flags[V] === 1), // ge lt
    () => flags[NZ] !== 0 && (flags[NZ] < 0) === (flags[V] === 1), // gt
    () => flags[NZ] === 0 || (flags[NZ] < 0) !== (flags[V] === 1), // le
  ];
  const conditional = conditions.map((holds, code) => [`1101${code.toString(2).padStart(4, '0')}`, op => {
    if (!holds()) { return 1; }
    r[PC] += 2 + (((op << 24) >> 24) << 1);
    return 2;
  }]);

  return [
    one('00000', op => { s[low(op)] = left(s[mid(op)], imm5(op)); }),
    one('00001', op => { s[low(op)] = right(s[mid(op)], imm5(op) || 32); }),
    one('00010', op => { s[low(op)] = rightSigned(s[mid(op)], imm5(op) || 32); }),
    one('0001100', op => { s[low(op)] = add(s[mid(op)], s[top(op)], 0); }),
    one('0001101', op => { s[low(op)] = add(s[mid(op)], ~s[top(op)], 1); }),
    one('0001110', op => { s[low(op)] = add(s[mid(op)], top(op), 0); }),
    one('0001111', op => { s[low(op)] = add(s[mid(op)], ~top(op), 1); }),
    one('00100', op => { s[wide(op)] = logic(imm8(op)); }),
    one('00101', op => { add(s[wide(op)], ~imm8(op), 1); }),
    one('00110', op => { s[wide(op)] = add(s[wide(op)], imm8(op), 0); }),
    one('00111', op => { s[wide(op)] = add(s[wide(op)], ~imm8(op), 1); }),

    alu('0100000000', (a, b) => logic(a & b)),
    alu('0100000001', (a, b) => logic(a ^ b)),
    alu('0100000010', (a, b) => left(a, b & 255)),
    alu('0100000011', (a, b) => right(a, b & 255)),
    alu('0100000100', (a, b) => rightSigned(a, b & 255)),
    alu('0100000101', (a, b) => add(a, b, flags[C])),
    alu('0100000110', (a, b) => add(a, ~b, flags[C])),
    alu('0100000111', (a, b) => rotate(a, b & 255)),
    compare('0100001000', (a, b) => logic(a & b)),
    alu('0100001001', (a, b) => add(0, ~b, 1)),
    compare('0100001010', (a, b) => add(a, ~b, 1)),
    compare('0100001011', (a, b) => add(a, b, 0)),
    alu('0100001100', (a, b) => logic(a | b)),
    alu('0100001101', (a, b) => logic(Math.imul(a, b))),
    alu('0100001110', (a, b) => logic(a & ~b)),
    alu('0100001111', (a, b) => logic(~b)),

    ['01000100', op => setRegister(high(op), value(high(op)) + value(any(op)))],
    one('01000101', op => { add(value(high(op)) | 0, ~value(any(op)), 1); }),
    ['01000110', op => setRegister(high(op), value(any(op)))],
    ['010001110', op => { branch(r[any(op)]); return 2; }],
    ['010001111', op => {
      const target = r[any(op)];
      r[LR] = r[PC] | 1;
      branch(target);
      return 2;
    }],

    load('01001', load32, literal, wide),
    store('0101000', store32, indexed),
    store('0101001', store16, indexed),
    store('0101010', store8, indexed),
    load('0101011', address => (load8(address) << 24) >> 24, indexed),
    load('0101100', load32, indexed),
    load('0101101', load16, indexed),
    load('0101110', load8, indexed),
    load('0101111', address => (load16(address) << 16) >> 16, indexed),
    store('01100', store32, offset(2)),
    load('01101', load32, offset(2)),
    store('01110', store8, offset(0)),
    load('01111', load8, offset(0)),
    store('10000', store16, offset(1)),
    load('10001', load16, offset(1)),
    store('10010', store32, stack, wide),
    load('10011', load32, stack, wide),

    one('10100', op => { s[wide(op)] = literal(op); }),
    one('10101', op => { s[wide(op)] = stack(op); }),
    one('101100000', op => { r[SP] += (op & 127) << 2; }),
    one('101100001', op => { r[SP] -= (op & 127) << 2; }),
    one('1011001000', op => { s[low(op)] = (s[mid(op)] << 16) >> 16; }),
    one('1011001001', op => { s[low(op)] = (s[mid(op)] << 24) >> 24; }),
    one('1011001010', op => { s[low(op)] = s[mid(op)] & 0xffff; }),
    one('1011001011', op => { s[low(op)] = s[mid(op)] & 0xff; }),
    one('1011101000', op => { s[low(op)] = reverse(s[mid(op)]); }),
    one('1011101001', op => { const x = reverse(s[mid(op)]); s[low(op)] = (x >>> 16) | (x << 16); }),
    one('1011101011', op => { s[low(op)] = reverse(s[mid(op)]) >> 16; }),
    ['1011010', push],
    ['1011110', pop],
    ['11000', storeMany],
    ['11001', loadMany],

    ...conditional,
    ['11100', op => { r[PC] += 2 + (((op << 21) >> 21) << 1); return 2; }],
    ['11110', branchLink],
  ];

  function setRegister(index, x) {
    r[index] = index === PC ? x & ~1 : index === SP ? x & ~3 : x;
    return index === PC ? 2 : 1;
  }

  function reverse(x) {
    return (x << 24) | ((x << 8) & 0xff0000) | ((x >>> 8) & 0xff00) | (x >>> 24);
  }

  function push(op) {
    let count = op >> 8 & 1;
    for (let list = op & 255; list; list &= list - 1) { count++; }
    let address = s[SP] - 4 * count;
    s[SP] = address;
    for (let i = 0; i < 8; i++) {
      if (op >> i & 1) { store32(address, s[i]); address += 4; }
    }
    if (op & 0x100) { store32(address, s[LR]); }
    return 1 + count;
  }

  function pop(op) {
    let address = s[SP];
    for (let i = 0; i < 8; i++) {
      if (op >> i & 1) { s[i] = load32(address); address += 4; }
    }
    const count = (address - s[SP]) >> 2;
    if (!(op & 0x100)) {
      s[SP] = address;
      return 1 + count;
    }
    s[SP] = address + 4;
    branch(load32(address));
    return 4 + count;
  }

  function storeMany(op) {
    const start = s[wide(op)];
    let address = start;
    for (let i = 0; i < 8; i++) {
      if (op >> i & 1) { store32(address, s[i]); address += 4; }
    }
    s[wide(op)] = address;
    return 1 + ((address - start) >> 2);
  }

  function loadMany(op) {
    const base = wide(op);
    const start = s[base];
    let address = start;
    for (let i = 0; i < 8; i++) {
      if (op >> i & 1) { s[i] = load32(address); address += 4; }
    }
    if (!(op >> base & 1)) { s[base] = address; }
    return 1 + ((address - start) >> 2);
  }

  function branchLink(op) {
    const second = plainLoad16(r[PC]); // mostly of the word that was fetched
    if ((second & 0xd000) !== 0xd000) { return system(); }
    const sign = (op >> 10) & 1;
    const i1 = ((second >> 13) & 1) ^ sign ^ 1;
    const i2 = ((second >> 11) & 1) ^ sign ^ 1;
    const distance = (-sign << 24) | (i1 << 23) | (i2 << 22) | ((op & 0x3ff) << 12) | ((second & 0x7ff) << 1);
    s[LR] = (s[PC] + 2) | 1;
    s[PC] = s[PC] + 2 + distance;
    return 3;
  }
}
