import { formOf, type KernelVariant, type ProductForm, type ProductKind } from './product-forms.ts';
import type { Kernels as TrialKernels } from './trial-kernels.generated.ts';

/** The forms of products to use for several rows, as prompts have them, and for one row. */
export interface FormChoice {
  readonly prompt: ProductForm;
  readonly decode: ProductForm;
}

/** Memory of a trial: activations, weights, results. */
const ACTIVATIONS = 32768;
const WEIGHTS = 40960;
const RESULTS = 61440;
/** Goes over the operands of a call, some 50,000 operations each. */
const TIMES = 200;
const ROUNDS = 5;
/** Milliseconds in which an engine that does not compile optimised code at once may replace its first code. */
const WARM_UP = 4;
/** What a form must gain over the one before it: a tie goes to the first. */
const MARGIN = 1.04;

/** A form's inner loop, and the rows that it works on. */
interface Candidate<Name> {
  readonly name: Name;
  readonly rows: number;
  readonly run: (x: number, w: number, out: number, times: number) => void;
}

/**
 * Tries the inner loops of products, some 3 ms in all. What an engine and a processor make of an instruction is only known by
 * trying: the relaxed dot product of bytes is one instruction on some and five on others, and only some engines join
 * pairs of vectors.
 * @param isOptimized whether the code is optimised from the first call on.
 */
export function tryProducts(trial: TrialKernels, variant: KernelVariant, isOptimized: boolean): FormChoice {
  const fastestOf = <Name>(candidates: readonly Candidate<Name>[]) => fastest(candidates, isOptimized);
  const isNarrow = fastestOf([
    { name: false, rows: 6, run: trial.floats },
    { name: true, rows: 6, run: trial.floatsNarrow },
  ]);
  if (variant === 'simd') return { prompt: formOf('words', isNarrow), decode: formOf('words', isNarrow) };
  const prompt = fastestOf<ProductKind>([
    { name: 'dot', rows: 6, run: isNarrow ? trial.dotNarrow : trial.dot },
    { name: 'pairs', rows: 4, run: trial.pairs },
  ]);
  const decode = fastestOf<ProductKind>([
    { name: prompt, rows: 1, run: prompt === 'dot' ? trial.dotRow : trial.pairsRow },
    { name: prompt === 'dot' ? 'pairs' : 'dot', rows: 1, run: prompt === 'dot' ? trial.pairsRow : trial.dotRow },
  ]);
  return { prompt: formOf(prompt, isNarrow), decode: formOf(decode, isNarrow) };
}

/** Runs candidates in turns, so that other work on the machine hinders all alike, and compares their best times. */
function fastest<Name>(candidates: readonly Candidate<Name>[], isOptimized: boolean): Name {
  const times = candidates.map(({ run }) => {
    const begin = performance.now();
    do run(ACTIVATIONS, WEIGHTS, RESULTS, isOptimized ? 1 : TIMES);
    while (!isOptimized && performance.now() < begin + WARM_UP);
    return Number.POSITIVE_INFINITY;
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { run, rows }] of candidates.entries()) {
      const begin = performance.now();
      run(ACTIVATIONS, WEIGHTS, RESULTS, TIMES);
      times[i] = Math.min(times[i], (performance.now() - begin) / rows);
    }
  }
  const best = times.reduce((least, time, i) => (time * MARGIN < times[least] ? i : least), 0);
  return candidates[best].name;
}
