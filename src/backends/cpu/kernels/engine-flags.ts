/** V8 options while a kernel is compiled; their defaults are restored afterwards. */
const FLAGS = {
  /** Optimised code at once, instead of quick code that is replaced when it has run for a while. */
  during: ['--no-liftoff', '--no-wasm-lazy-compilation'],
  after: ['--liftoff', '--wasm-lazy-compilation'],
};

/** Whether modules are optimised when they are compiled, because the options are V8's: other engines ignore them. */
export function compilesOptimized(): boolean {
  const { node, bun, deno } = globalThis.process?.versions ?? {};
  return node !== undefined && bun === undefined && deno === undefined;
}

/**
 * Compiles a module with all that V8 can do in Node but does not by default: relaxed SIMD in Node 20, and the 256-bit
 * widening of pairs of 128-bit instructions from Node 24 on. Other modules of the process are compiled as ever. Elsewhere
 * than in Node it just compiles. What the widened code computes is checked before it is used.
 *
 * The options are the process's: two threads must not do this at the same time.
 */
export function compileWithFastSimd(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module | undefined {
  const node = globalThis.process?.versions?.node;
  const v8 = node ? process.getBuiltinModule?.('node:v8') : undefined;
  const set = (flags: readonly string[]) => {
    for (const flag of flags) v8?.setFlagsFromString(flag);
  };
  const isRelaxedSimdHidden = Number.parseInt(node ?? '', 10) < 22;
  const canWiden = Number.parseInt(node ?? '', 10) >= 24;
  set(FLAGS.during);
  if (isRelaxedSimdHidden) set(['--experimental-wasm-relaxed-simd']);
  if (canWiden) set(['--experimental-wasm-revectorize']);
  try {
    return WebAssembly.validate(bytes) ? new WebAssembly.Module(bytes) : undefined;
  } finally {
    set(FLAGS.after);
    if (canWiden) set(['--no-experimental-wasm-revectorize']);
  }
}
