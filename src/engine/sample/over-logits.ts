import { fromBase64 } from '../../util/base64.ts';
import { TABLE } from './exponential.ts';
import { LOGITS_KERNELS, type LogitsKernels } from './kernels.generated.ts';

const PAGE_BYTES = 65536;
/** Where things begin in the kernels' memory, whose first part has their constants. */
const TABLE_BEGIN = 16384;
const LOGITS = TABLE_BEGIN + Math.ceil(TABLE.byteLength / 16) * 16;

interface CompiledLoops {
  readonly kernels: LogitsKernels;
  readonly memory: WebAssembly.Memory;
}

/**
 * Loops over the logits of a whole vocabulary, which run for each token. They are WebAssembly, because that is compiled
 * before it runs: V8 leaves and enters the compiled code of such long loops as it learns what comes after them, and as
 * JavaScript some went on in slow code from a certain call on: 7 ms for 50,000 logits instead of 0.06.
 */
class LogitsLoops {
  #compiled: CompiledLoops | undefined;
  #logits = new Float32Array();
  #weights = new Float64Array();

  /** The largest logit: NaN if one is NaN, -Infinity if there is none. */
  largest(logits: Float32Array): number {
    this.#take(logits);
    return this.#loops.kernels.largest(LOGITS, logits.length);
  }

  /**
   * log Σ exp(logits), to 6 digits past the point, and the largest of them: NaN if one is NaN, -Infinity if there is none.
   */
  logSumExp(logits: Float32Array): { readonly largest: number; readonly total: number } {
    const largest = this.largest(logits);
    return {
      largest,
      total: largest + Math.log(this.#loops.kernels.sumOfExponentials(LOGITS, logits.length, largest)),
    };
  }

  /**
   * Weighs logits by exp((logit - largest) · inverse), or 0 where that is below minP.
   * @param inverse of the temperature.
   * @returns the weights, until the next call of any kind, and their sum.
   */
  weigh(
    logits: Float32Array,
    { largest, inverse, minP }: { readonly largest: number; readonly inverse: number; readonly minP: number },
  ): { readonly weights: Float64Array; readonly total: number } {
    this.#take(logits);
    const weights = this.#weights;
    const total = this.#loops.kernels.weigh(
      weights.byteOffset,
      LOGITS,
      logits.length,
      largest,
      inverse,
      minP,
      TABLE_BEGIN,
    );
    return { weights, total };
  }

  /** Index at which the running sum of the weights that were weighed last passes `target`. */
  pick(target: number): number {
    return this.#loops.kernels.pick(this.#weights.byteOffset, this.#weights.length, target);
  }

  /** Compiled when they are first wanted: programs that only import the package don't pay for them. */
  get #loops(): CompiledLoops {
    this.#compiled ??= compile();
    return this.#compiled;
  }

  /** Puts logits where the kernels find them. */
  #take(logits: Float32Array): void {
    if (logits.length !== this.#logits.length) this.#makeRoom(logits.length);
    this.#logits.set(logits);
  }

  #makeRoom(length: number): void {
    const { memory } = this.#loops;
    const weights = Math.ceil((LOGITS + 4 * length) / 16) * 16;
    const missing = weights + 8 * length - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
    this.#logits = new Float32Array(memory.buffer, LOGITS, length);
    this.#weights = new Float64Array(memory.buffer, weights, length);
  }
}

function compile(): CompiledLoops {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const module = new WebAssembly.Module(fromBase64(LOGITS_KERNELS));
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as LogitsKernels;
  new Float64Array(memory.buffer, TABLE_BEGIN, TABLE.length).set(TABLE);
  return { kernels, memory };
}

/** One for a thread's samplers: nothing in its memory outlasts the choice of a token. */
export const overLogits: LogitsLoops = new LogitsLoops();
