/** The part of `navigator` that Chromium has: memory in GiB, rounded, at most 8 or 32. */
interface WithDeviceMemory {
  readonly deviceMemory?: number;
}

/** Bytes of memory that this process may use: the machine's, or its control group's limit. Infinity where it is unknown. */
export function machineMemory(): number {
  const os = globalThis.process?.getBuiltinModule?.('node:os');
  if (os !== undefined) {
    // 0 or undefined: there is no limit.
    const limit = process.constrainedMemory?.() || Number.POSITIVE_INFINITY;
    return Math.min(os.totalmem(), limit);
  }
  const { deviceMemory } = (globalThis.navigator ?? {}) as WithDeviceMemory;
  return deviceMemory === undefined ? Number.POSITIVE_INFINITY : deviceMemory * 2 ** 30;
}
