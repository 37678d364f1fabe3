// UF2: 512-byte blocks, each with its own address, as the RP2040's boot ROM takes them.

const BLOCK = 512;
const MAGIC = [[0, 0x0a324655], [4, 0x9e5d5157], [508, 0x0ab16f30]]; // [offset, word]
const RP2040_FAMILY = 0xe48bff56;
const [ADDRESS, LENGTH, COUNT, FAMILY, DATA] = [12, 16, 24, 28, 32]; // offsets in a block

function* blocks(bytes) {
  for (let start = 0; start + BLOCK <= bytes.length; start += BLOCK) {
    const block = bytes.subarray(start, start + BLOCK);
    const ours = MAGIC.every(([offset, word]) => block.readUInt32LE(offset) === word);
    if (ours && block.readUInt32LE(FAMILY) === RP2040_FAMILY) { yield block; }
  }
}

// True when every block that the first one promises is there: a copy in progress is not programmed.
export function uf2Complete(bytes) {
  const all = [...blocks(bytes)];
  return all.length > 0 && all.length >= all[0].readUInt32LE(COUNT);
}

export function* readUf2(bytes) { // -> { address, data }
  for (const block of blocks(bytes)) {
    const data = block.subarray(DATA, DATA + block.readUInt32LE(LENGTH));
    yield { address: block.readUInt32LE(ADDRESS), data };
  }
}
