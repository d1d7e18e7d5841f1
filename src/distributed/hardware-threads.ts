/** Threads that this machine runs at once. Node before 21 has no `navigator`. */
export function hardwareThreads(): number {
  return globalThis.navigator?.hardwareConcurrency ?? process.getBuiltinModule('node:os').availableParallelism();
}
