// The cores of the emulated RP2040 and what stands between them: mailboxes, events, the start of core 1, time.
// Core 1 has registers, interrupts, divider and interpolators of its own; all else is rp2040js's one chip.

import { Core, NAP } from './core.mjs';
import { Memory } from './memory.mjs';

const [SP, LR, PC] = [13, 14, 15];
const SEV = 0xbf40;
const PSM = 0x40010;
const FRCE_OFF = 4;
const PROC1 = 1 << 16; // of the power-on state machine: holds core 1 in reset
const [CPUID, FIFO_ST, FIFO_WR, FIFO_RD] = [0, 0x50, 0x54, 0x58]; // registers of the SIO block
const OWN = [[0x60, 0x7c], [0x80, 0x100]]; // those that each core has for itself: divider, interpolators
const FIFO_WORDS = 8;
const FIFO_IRQ = 15; // of core 0; core 1's is the next one
const ROM_WAIT = 0x3ff0; // where core 1 goes when its program returns
const START = [0, 0, 1]; // begins the sequence that starts core 1: then vectors, stack, entry

export class Machine {
  // fault(message) is called for what a real core answers with a hard fault.
  constructor(mcu, fault, { cores = 1, banks = false, miss = 0 } = {}) {
    this.mcu = mcu;
    this.memory = banks || miss ? new Memory({ banks, miss }) : null;
    this.mcus = cores === 2 ? [mcu, secondOf(mcu)] : [mcu];
    this.cores = this.mcus.map(chip => new Core(chip, fault, this.memory));
    this.now = [0, 0]; // cycles of each core
    this.stopped = false;
    this.fifo = [[], []]; // words that wait for each core
    this.running = false; // whether core 1 runs a program; else it waits in the ROM
    this.sequence = [];
    if (cores === 2) { this.join(); }
  }

  // Leaves run() after the current instruction, and does not enter it again.
  stop() {
    this.stopped = this.cores[0].stopped = true;
  }

  // --- what stands between the cores ---

  join() {
    this.mcu.setInterrupt = (irq, on) => this.mcus.forEach(chip => chip.core.setInterrupt(irq, on));
    this.mcus.forEach((chip, id) => this.connect(chip.sio, id));
    this.cores.forEach(core => { core.handlers[SEV] = () => { this.event(); return 1; }; });
    const psm = this.mcu.peripherals[PSM];
    const write = psm.writeUint32.bind(psm);
    psm.writeUint32 = (offset, value) => {
      const held = psm.frceOff & PROC1;
      write(offset, value);
      if (held && !(psm.frceOff & PROC1)) { this.enterRom(); }
      if (psm.frceOff & PROC1) { this.running = false; }
    };
  }

  connect(sio, id) {
    const read = sio.readUint32.bind(sio);
    const write = sio.writeUint32.bind(sio);
    const first = this.mcu.sio;
    const isOwn = offset => id === 0 || OWN.some(([low, high]) => offset >= low && offset < high);
    sio.readUint32 = offset => {
      if (offset === CPUID) { return id; }
      if (offset === FIFO_ST) {
        return (this.fifo[id].length ? 1 : 0) | (this.fifo[1 - id].length < FIFO_WORDS ? 2 : 0);
      }
      if (offset === FIFO_RD) { return this.receive(id); }
      return isOwn(offset) ? read(offset) : first.readUint32(offset);
    };
    sio.writeUint32 = (offset, value) => {
      if (offset === FIFO_WR) {
        if (id === 0 && !this.running) { this.launch(value >>> 0); } else { this.send(1 - id, value >>> 0); }
      } else if (offset !== FIFO_ST) {
        (isOwn(offset) ? write : first.writeUint32.bind(first))(offset, value);
      }
    };
  }

  send(id, word) {
    if (this.fifo[id].length < FIFO_WORDS) { this.fifo[id].push(word); }
    this.level(id);
    this.event();
  }

  receive(id) {
    const word = this.fifo[id].shift() ?? 0;
    this.level(id);
    return word;
  }

  level(id) {
    this.mcus[id].core.setInterrupt(FIFO_IRQ + id, this.fifo[id].length > 0);
  }

  // Wakes whoever waits, and lets the next wait of the others pass.
  event() {
    for (const { core } of this.mcus) {
      if (core.waiting) { core.waiting = false; } else { core.eventRegistered = true; }
    }
  }

  // --- core 1 in the ROM ---

  enterRom() {
    this.running = false;
    this.sequence = [];
    this.fifo[1] = [];
    this.send(0, 0);
  }

  // The ROM echoes each word and starts over at one that does not belong.
  launch(word) {
    const n = this.sequence.length;
    if (n < START.length && word !== START[n]) { this.sequence = []; }
    if (n >= START.length || word === START[this.sequence.length]) { this.sequence.push(word); }
    this.send(0, word);
    if (this.sequence.length === START.length + 3) {
      this.start(...this.sequence.slice(START.length));
    }
  }

  start(vectors, stack, entry) {
    const { core } = this.mcus[1];
    Object.assign(core, { VTOR: vectors, PM: false, IPSR: 0, currentMode: 0, SPSEL: 0, waiting: false,
      eventRegistered: false, pendingInterrupts: 0, enabledInterrupts: 0 });
    core.registers[SP] = stack;
    core.registers[LR] = ROM_WAIT | 1;
    core.registers[PC] = entry & ~1;
    this.cores[1].fill();
    this.now[1] = this.now[0];
    this.sequence = [];
    this.running = true;
    this.cores[0].stopped = true; // its own loop knows nothing of core 1
  }

  // --- time ---

  // Runs about `count` instructions of core 0; returns how many nanoseconds the cores slept.
  run(count) {
    if (this.stopped) { return 0; }
    this.cores[0].stopped = false;
    return this.running || this.memory ? this.runTogether(count) : this.cores[0].run(count);
  }

  runTogether(count) {
    const { mcu } = this;
    const { clock } = mcu;
    const nanosPerCycle = 1e9 / mcu.clkSys;
    let slept = 0;
    for (let n = 0; n < count && !this.stopped; n++) {
      const cycles = this.stepTogether();
      if (!cycles) {
        slept += this.cores[0].nap();
        n += NAP - 1;
        continue;
      }
      const nanos = cycles * nanosPerCycle;
      if (clock.nextAlarm === null || clock.nextAlarm.nanos > clock.nanosCounter + nanos) {
        clock.nanosCounter += nanos;
      } else {
        clock.tick(nanos);
      }
    }
    return slept;
  }

  // An instruction of the core that is behind, and what core 1 does meanwhile; returns cycles, 0 if both wait.
  stepTogether() {
    const { now } = this;
    const one = this.mcus[1]?.core;
    const works = this.running && !one.waiting; // core 1
    if (this.mcu.core.waiting) {
      if (!works) { return 0; }
      const cycles = this.step(1);
      now[0] = now[1];
      return cycles || 1;
    }
    const cycles = this.step(0);
    if (works) { this.catchUp(one); }
    if (!this.running || one.waiting) { now[1] = now[0]; }
    return cycles;
  }

  catchUp(one) {
    while (this.running && !one.waiting && this.now[1] < this.now[0]) { this.step(1); }
  }

  // One instruction of a core, with what its memory costs; returns cycles.
  step(id) {
    const { memory } = this;
    const pc = this.mcus[id].core.registers[PC];
    if (id === 1 && pc === ROM_WAIT) { this.running = false; return 0; }
    if (memory) {
      memory.start(id, this.now[id]);
      memory.fetch(pc);
    }
    const cycles = this.cores[id].step() + (memory ? memory.stall : 0);
    this.now[id] += cycles;
    return cycles;
  }
}

// The chip as core 1 sees it.
function secondOf(mcu) {
  const chip = Object.create(mcu);
  chip.core = new mcu.core.constructor(chip); // rp2040js exports none of these
  chip.sio = new mcu.sio.constructor(chip);
  chip.ppb = new mcu.ppb.constructor(chip, 'PPB');
  return chip;
}
