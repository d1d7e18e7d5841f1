// Speed of products in each of the CPU backend's forms, on one thread, in turns: `npm run products`.
import { parseArgs } from 'node:util';
import { compileKernels } from '../src/backends/cpu/kernels/kernels.ts';
import { PRODUCT_FORMS, variantOf } from '../src/backends/cpu/kernels/product-forms.ts';
import { loadKernels } from '../src/backends/cpu/load-kernels.ts';
import { CpuTensor } from '../src/backends/cpu/memory/cpu-tensor.ts';
import { PackedWeight } from '../src/backends/cpu/memory/packed-weight.ts';
import { CpuLinear } from '../src/backends/cpu/ops/linear.ts';

const DTYPES = ['int8', 'int4', 'float32', 'bfloat16'] as const;
/** Rows, and the outputs that they are multiplied with: those of one row stay in the cache. */
const SIZES = [
  { rows: 1, outputs: 128 },
  { rows: 16, outputs: 1536 },
  { rows: 256, outputs: 1536 },
];
/** Operations between two readings of the clock, at least. */
const OPERATIONS = 2e7;

const { values } = parseArgs({
  options: { inputs: { type: 'string', default: '1536' }, rounds: { type: 'string', default: '25' } },
});
const inputs = Number(values.inputs);

const forms = PRODUCT_FORMS.flatMap((form) => {
  const compiled = compileKernels(variantOf(form), form);
  return compiled ? [{ form, runtime: loadKernels(compiled) }] : [];
});

/** Makes a product of random numbers. Returns a function that computes it. */
function product({ runtime }: (typeof forms)[number], dtype: (typeof DTYPES)[number], rows: number, outputs: number) {
  const { memory } = runtime;
  const weight = new PackedWeight(runtime, outputs, inputs, dtype);
  weight.writeRows(
    0,
    Float32Array.from({ length: outputs * inputs }, () => Math.random() - 0.5),
  );
  const x = CpuTensor.allocate(memory, [rows, inputs]);
  for (let r = 0; r < rows; r++) x.row(r).set(Float32Array.from({ length: inputs }, () => Math.random() - 0.5));
  const linear = new CpuLinear(runtime);
  return () => memory.scope(() => linear.run(x, weight, undefined));
}

const table: Record<string, Record<string, string>> = {};
for (const dtype of DTYPES) {
  for (const { rows, outputs } of SIZES) {
    const operations = 2 * rows * outputs * inputs;
    const repetitions = Math.ceil(OPERATIONS / operations);
    const works = forms.map((each) => ({ form: each.form, run: product(each, dtype, rows, outputs), times: [0] }));
    for (let round = 0; round <= Number(values.rounds); round++) {
      for (const { run, times } of works) {
        const begin = performance.now();
        for (let i = 0; i < repetitions; i++) run();
        if (round > 0) times[round - 1] = (performance.now() - begin) / repetitions;
      }
    }
    const rate = (milliseconds: number) => Math.round(operations / milliseconds / 1e6);
    const entries = works.map(({ form, times }) => {
      const sorted = times.toSorted((a, b) => a - b);
      return [form, `${rate(sorted[0])} / ${rate(sorted[sorted.length >> 1])}`];
    });
    table[`${dtype}, ${rows} rows`] = Object.fromEntries(entries);
  }
}
process.stdout.write(`Node ${process.version}, Gop/s (a product and its addition are two): greatest / median\n`);
// biome-ignore lint/suspicious/noConsole: a table for people.
console.table(table);
