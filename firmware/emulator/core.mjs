// Runs up to `count` instructions; returns the nanoseconds that the core slept.
export function execute(mcu, count, stop) {
  const { core, clock } = mcu;
  let slept = 0;
  for (let n = 0; n < count; n++) {
    if (core.waiting) {
      const nap = clock.nanosToNextAlarm || 1000;
      clock.tick(nap);
      slept += nap;
      n += 100;
      continue;
    }
    const before = core.cycles;
    core.executeInstruction();
    clock.tick((core.cycles - before) * 1e9 / mcu.clkSys);
    if (stop()) { break; }
  }
  return slept;
}
