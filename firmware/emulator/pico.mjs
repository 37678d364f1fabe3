// An emulated Raspberry Pi Pico: a real firmware on an emulated RP2040, its USB serial port on a TCP port.
//
//   node pico.mjs --flash image.bin [--port 0] [--boot-volume DIR] [--cores 2] [--banks] [--flash-cache CYCLES]
//
// image.bin is the whole 2 MB flash; what the board erases and programs is written to it at once, so ending
// this process is a power cut. One JSON line on stdout tells port and pid. A line `reset` on stdin cycles the
// power and is answered by a line; the end of stdin ends the process. DIR appears while the board is in USB
// boot mode, as the RPI-RP2 volume does: a .uf2 copied there is programmed and started.
//
// Board time counts cycles at the firmware's own clock and never runs ahead of wall time while both cores
// sleep. Memory has no wait states, unless asked for: with --banks cores wait for each other's accesses, with
// --flash-cache a miss of the flash's cache costs so many cycles (about 56 on a Pico).

import fs from 'fs';
import net from 'net';
import path from 'path';
import { parseArgs } from 'util';
import { RP2040 } from 'rp2040js';
import { installBootrom } from './bootrom.mjs';
import { Machine } from './machine.mjs';
import { randomInt } from 'node:crypto';
import { UsbSerial } from './usb.mjs';
import { readUf2, uf2Complete } from './uf2.mjs';

const FLASH_BYTES = 2 * 1024 * 1024;
const FLASH_START = 0x10000000;
const BOOT_STACK = 0x20041f00; // where the ROM leaves SP for the second-stage loader
const WATCHDOG = 0x40058;
const ROSC = 0x40060;
const RANDOMBIT = 0x1c;
const SLICE = 50000; // instructions between two looks at sockets and files, about 1 ms
const HIGH_WATER = 64 * 1024; // bytes waiting in either direction before the sender is held
const NAP_MS = 2; // sleep of the core that is saved up before this process sleeps as long
const POLL_MS = 100; // for files on the boot volume

const INFO_UF2 = 'UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n';

function fail(message, status) {
  process.stderr.write(`pico: ${message}\n`);
  process.exit(status);
}

class Board {
  constructor(flashFile, bootVolume, options) {
    this.options = options; // of the machine
    this.file = fs.openSync(flashFile, 'r+');
    this.bootVolume = bootVolume;
    this.mcu = null; // null while in boot mode
    this.client = null;
    this.flash = new Uint8Array(FLASH_BYTES).fill(0xff);
    fs.readSync(this.file, this.flash, 0, FLASH_BYTES, 0);
    this.timer = null;
    this.resetWanted = null; // 'watchdog' or 'boot': what the board asked for in this slice
    this.slept = 0; // ms of board sleep not yet slept by this process
    if (bootVolume) { fs.rmSync(bootVolume, { recursive: true, force: true }); }
  }

  powerUp() {
    const previous = this.mcu;
    const mcu = new RP2040();
    const fault = (part, message) => { // rp2040js warns of registers that it lacks, too: those do no harm
      if (part === 'CortexM0Core') { this.fault(message); }
    };
    mcu.logger = { debug() {}, info() {}, warn: fault, error: fault };
    mcu.flash.set(previous ? previous.flash.subarray(0, FLASH_BYTES) : this.flash);
    installBootrom(mcu, this);
    this.usb = new UsbSerial(mcu.usbCtrl, bytes => this.toClient(bytes));

    const watchdog = mcu.peripherals[WATCHDOG];
    watchdog.onWatchdogTrigger = () => this.stop('watchdog');
    if (previous && this.resetWanted === 'watchdog') { // these registers live through a watchdog reset
      watchdog.reason = previous.peripherals[WATCHDOG].reason;
      watchdog.scratchData.set(previous.peripherals[WATCHDOG].scratchData);
    }
    const rosc = mcu.peripherals[ROSC]; // rp2040js has none; the firmware makes os.urandom of this bit
    rosc.readUint32 = offset => (offset === RANDOMBIT ? randomInt(2) : 0xffffffff);
    mcu.core.PC = FLASH_START; // the second-stage loader; it returns to LR unless that is 0
    mcu.core.LR = 0;
    mcu.core.SP = BOOT_STACK;
    this.mcu = mcu;
    this.machine = new Machine(mcu, message => this.fault(message), this.options);
    this.resetWanted = null;
    this.wake();
  }

  powerCycle() {
    this.leaveBootMode();
    this.resetWanted = 'power';
    this.powerUp();
  }

  stop(reason) {
    this.resetWanted = reason;
    this.machine.stop();
  }

  // --- time ---

  wake() {
    clearTimeout(this.timer);
    clearImmediate(this.immediate);
    this.slept = 0;
    this.immediate = setImmediate(() => this.slice());
  }

  slice() {
    const { mcu } = this;
    if (!mcu || (this.client && this.client.writableLength > HIGH_WATER)) { return; } // woken by 'drain'
    const slept = this.machine.run(SLICE);
    if (this.resetWanted === 'boot') {
      this.enterBootMode();
    } else if (this.resetWanted) {
      this.powerUp();
    } else {
      this.schedule(slept);
    }
    if (this.client?.isPaused() && this.usb.queued < HIGH_WATER) { this.client.resume(); }
  }

  schedule(sleptNanos) {
    this.slept += sleptNanos / 1e6;
    if (this.slept < NAP_MS) {
      this.immediate = setImmediate(() => this.slice());
      return;
    }
    const start = performance.now();
    this.timer = setTimeout(() => {
      this.slept -= Math.min(this.slept, performance.now() - start);
      this.slice();
    }, NAP_MS);
  }

  // --- the serial port ---

  attach(socket) {
    this.client?.destroy();
    this.client = socket;
    socket.setNoDelay(true);
    socket.on('data', bytes => this.fromClient(bytes));
    socket.on('drain', () => this.wake());
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.client === socket) {
        this.client = null;
        this.wake(); // it may have been waiting for this client to read
      }
    });
  }

  fromClient(bytes) {
    if (!this.mcu) { return; } // in boot mode there is no serial port
    this.usb.send(bytes);
    if (this.usb.queued >= HIGH_WATER) { this.client.pause(); }
    if (this.timer) { this.wake(); }
  }

  toClient(bytes) {
    this.client?.write(Buffer.from(bytes));
  }

  // --- what the boot ROM asks for ---

  flashChanged(start, length) {
    fs.writeSync(this.file, this.mcu.flash, start, length, start);
  }

  flushCache() {
    this.machine.memory?.flush();
  }

  usbBoot() {
    this.stop('boot');
  }

  fault(message) {
    fail(`${message} (pc 0x${this.mcu?.core.PC.toString(16)})`, 3);
  }

  enterBootMode() {
    if (!this.bootVolume) { fail('the board wants to boot over USB: start with --boot-volume', 2); }
    this.flash.set(this.mcu.flash.subarray(0, FLASH_BYTES));
    this.mcu = null;
    this.resetWanted = null;
    this.client?.destroy();
    fs.mkdirSync(this.bootVolume, { recursive: true });
    fs.writeFileSync(path.join(this.bootVolume, 'INFO_UF2.TXT'), INFO_UF2);
    this.poll = setInterval(() => this.lookForUf2(), POLL_MS);
  }

  lookForUf2() {
    const name = fs.readdirSync(this.bootVolume).find(entry => entry.toLowerCase().endsWith('.uf2'));
    const bytes = name && fs.readFileSync(path.join(this.bootVolume, name));
    if (!bytes || !uf2Complete(bytes)) { return; }
    for (const { address, data } of readUf2(bytes)) { this.flash.set(data, address - FLASH_START); }
    fs.writeSync(this.file, this.flash, 0, FLASH_BYTES, 0);
    this.powerCycle();
  }

  leaveBootMode() {
    clearInterval(this.poll);
    if (this.bootVolume) { fs.rmSync(this.bootVolume, { recursive: true, force: true }); }
  }
}

function main() {
  console.warn = () => {}; // rp2040js mentions every register that it does not model
  const { values } = parseArgs({ options: {
    'flash': { type: 'string' },
    'port': { type: 'string', default: '0' },
    'boot-volume': { type: 'string' },
    'cores': { type: 'string', default: '2' },
    'banks': { type: 'boolean', default: false },
    'flash-cache': { type: 'string', default: '0' },
  } });
  if (!values.flash) { fail('give the flash image: --flash image.bin', 2); }

  const board = new Board(values.flash, values['boot-volume'], {
    cores: Number(values.cores), banks: values.banks, miss: Number(values['flash-cache']),
  });
  const server = net.createServer(socket => board.attach(socket));
  server.listen(Number(values.port), '127.0.0.1', () => {
    process.stdout.write(JSON.stringify({ port: server.address().port, pid: process.pid }) + '\n');
    board.powerUp();
  });
  process.stdin.on('data', text => {
    if (!String(text).includes('reset')) { return; }
    board.powerCycle();
    process.stdout.write(JSON.stringify({ reset: true }) + '\n');
  });
  process.stdin.on('end', () => process.exit(0));
}

main();
