import type { DTypeSetting } from '../../tensor/dtype.ts';
import { defineCommand } from '../options/command.ts';
import {
  assertCount,
  contextOptions,
  dtypesOption,
  loadWithProgress,
  type ModelValues,
  modelOptions,
} from '../options/model-options.ts';
import { flag, number, texts } from '../options/option.ts';
import { UsageError } from '../options/usage-error.ts';
import { describeEvaluation, type Evaluation, withMeasures } from '../reports/eval-report.ts';
import { beginOfText, scoreText, totalScore } from '../reports/text-score.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { warn } from '../terminal/notes.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { print } from '../terminal/standard-output.ts';
import { readTextFile } from './text-file.ts';

/** A text to score. */
interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** `mamba2 eval` */
export const evaluate = defineCommand({
  details: [
    "Bits per byte is the sum of -log2 p over the text's tokens, divided by its UTF-8 bytes; perplexity is exp of",
    'the mean loss per token. Every file is one text of its own, preceded by the begin-of-text token. With a',
    'tokenizer that has none, the first token is context only: it is not scored and its bytes do not count.',
    'Several dtypes are compared over all files: what each loses is relative to the bits of the first.',
  ].join(' '),
  options: {
    file: texts('path', 'UTF-8 text to score; the same as [file]'),
    maxTokens: number('Score only the first tokens of each file', 'n'),
    json: flag('Print one JSON object'),
    ...modelOptions,
    ...contextOptions,
    dtype: dtypesOption(),
  },
  examples: ['eval notes.txt', 'eval a.txt b.txt --model org/name --dtype float32,int8,int4'],
  run: async (values, positionals) => {
    const paths = [...positionals, ...values.file];
    const { maxTokens, dtype: dtypes, json, quiet } = values;
    if (paths.length === 0) throw new UsageError("'eval' needs a file to score: a path, or at least one --file.");
    assertCount('maxTokens', maxTokens, 1);
    // Before the model: a wrong path should not wait for a download.
    const files = await Promise.all(paths.map(async (path) => ({ path, text: await readTextFile(path) })));
    const interrupt = new Interrupt();
    const progress = new ProgressDisplay(quiet);
    const evaluations: Evaluation[] = [];
    try {
      for (const dtype of dtypes) {
        evaluations.push(await scoreFiles({ ...values, dtype }, files, maxTokens, progress, interrupt.signal));
      }
    } finally {
      progress.stop();
      interrupt.close();
    }
    const result = { results: withMeasures(evaluations) };
    await print(json ? `${JSON.stringify(result)}\n` : `${describeEvaluation(evaluations)}\n`);
    return 0;
  },
});

/** Scores all files with the model in one dtype. */
async function scoreFiles(
  values: Omit<ModelValues, 'dtype'> & { readonly dtype: DTypeSetting },
  files: readonly TextFile[],
  maxTokens: number | undefined,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Promise<Evaluation> {
  const { dtype } = values;
  await using llm = await loadWithProgress(values, signal, undefined, { maxNumSeqs: 1 });
  if (llm.tokenizer && beginOfText(llm.tokenizer) === undefined) {
    warn('the tokenizer has no begin-of-text token; the first token of each file is not scored.');
  }
  const scored: Evaluation['files'][number][] = [];
  const begin = performance.now();
  for (const { path, text } of files) {
    const onTokens = (done: number, total: number) => progress.show(`${dtype} ${path}`, done, total);
    scored.push({ file: path, score: await scoreText(llm, text, maxTokens, { signal, onTokens }) });
    progress.stop();
  }
  const seconds = (performance.now() - begin) / 1000;
  return { dtype, files: scored, total: totalScore(scored.map(({ score }) => score)), seconds };
}
