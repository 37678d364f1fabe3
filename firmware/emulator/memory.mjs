// What the RP2040's memory costs beyond the Cortex-M0+ manual: two cores that want one bank in the same cycle,
// and flash that is not in the cache. A model after the datasheet, never compared with a chip.
//
// SRAM is four banks, striped word by word, and two small ones. Each bank, and the cache, serves one access a
// cycle; the core that comes second waits. The cache holds 16 KB in two ways, in lines of 8 bytes, and drops
// the line of a set that was used least recently. Only one line is read from flash at a time.

const RAM = 0x20;
const FLASH = 0x10; // the upper byte of an address that the cache serves
const STRIPED = 0x40000; // bytes of SRAM in the four striped banks
const SMALL = 0x1000; // bytes of either small bank
const CACHE = 6; // the bank that is the cache
const BANKS = 7;
const WINDOW = 256; // cycles for which accesses are remembered: more than the cores are ever apart
const CACHE_BYTES = 16 * 1024;
const LINE_SHIFT = 3;
const SETS = CACHE_BYTES / 2 >> LINE_SHIFT;

export class Memory {
  // miss: cycles to read a line from flash, 0 for none; banks: whether cores wait for each other
  constructor({ miss = 0, banks = false }) {
    this.miss = miss;
    this.banks = banks;
    this.lines = new Int32Array(2 * SETS).fill(-1);
    this.last = new Uint8Array(SETS); // the way used last
    this.flashFree = 0; // when the last line is there
    this.taken = new Float64Array(BANKS * WINDOW).fill(-1); // the cycle in which a bank served a core
    this.by = new Uint8Array(BANKS * WINDOW);
    this.time = 0; // of the next access
    this.stall = 0; // cycles that the current instruction waited
    this.word = [-1, -1]; // the last word of code that each core fetched
    this.misses = 0;
  }

  // An instruction of core `id` begins at cycle `now`.
  start(id, now) {
    this.id = id;
    this.time = now;
    this.stall = 0;
  }

  // Two instructions come in one word.
  fetch(pc) {
    const word = pc >>> 2;
    if (word === this.word[this.id]) { return; }
    this.word[this.id] = word;
    this.access(pc);
  }

  access(address) {
    const block = address >>> 24;
    const offset = address & 0xffffff;
    if (block === RAM && this.banks) {
      this.claim(offset < STRIPED ? (offset >>> 2) & 3 : offset < STRIPED + SMALL ? 4 : 5);
    } else if (block === FLASH) {
      if (this.miss && !this.cached(offset)) {
        this.readLine();
      } else if (this.banks) {
        this.claim(CACHE);
      }
    }
  }

  // Takes a bank in the first cycle from now on in which the other core does not have it.
  claim(bank) {
    const at = bank * WINDOW;
    let slot = at + this.time % WINDOW;
    while (this.taken[slot] === this.time && this.by[slot] !== this.id) {
      this.time++;
      this.stall++;
      slot = at + this.time % WINDOW;
    }
    this.taken[slot] = this.time++;
    this.by[slot] = this.id;
  }

  // Whether a byte of flash is in the cache; it is then, in any case.
  cached(offset) {
    const line = offset >>> LINE_SHIFT;
    const set = line & (SETS - 1);
    let way = this.lines[2 * set] === line ? 0 : 1;
    const found = this.lines[2 * set + way] === line;
    if (!found) { way = this.last[set] ^ 1; }
    this.lines[2 * set + way] = line;
    this.last[set] = way;
    return found;
  }

  readLine() {
    this.misses++;
    const begin = Math.max(this.time, this.flashFree);
    this.stall += begin - this.time + this.miss;
    this.time = this.flashFree = begin + this.miss;
  }

  // What flash operations leave behind.
  flush() {
    this.lines.fill(-1);
  }
}
