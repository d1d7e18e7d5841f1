import { defineCommand } from './command.ts';
import { Interrupt } from './interrupt.ts';
import { loadModel, modelOptions } from './model-options.ts';
import { warn } from './notes.ts';
import { flag, number, texts } from './option.ts';
import { ProgressDisplay } from './progress-display.ts';
import { print } from './standard-output.ts';
import { formatTable } from './table.ts';
import { readTextFile } from './text-file.ts';
import { beginOfText, bitsPerByte, perplexity, scoreText, type TextScore, totalScore } from './text-score.ts';
import { UsageError } from './usage-error.ts';

/** `mamba2 eval` */
export const evaluate = defineCommand({
  name: 'eval',
  summary: 'Measure how well a model predicts text files',
  positionals: [],
  details: [
    "Bits per byte is the sum of -log2 p over the text's tokens, divided by its UTF-8 bytes; perplexity is exp of",
    'the mean loss per token. Every file is one text of its own, preceded by the begin-of-text token. With a',
    'tokenizer that has none, the first token is context only: it is not scored and its bytes do not count.',
  ].join('\n'),
  options: {
    file: texts('path', 'UTF-8 text to score'),
    maxTokens: number('Score only the first tokens of each file', 'n'),
    json: flag('Print one JSON object'),
    ...modelOptions,
  },
  examples: ['eval --file notes.txt', 'eval --model org/name --file a.txt --file b.txt --dtype int4 --json'],
  run: async (values) => {
    const { file: paths, maxTokens, json, quiet } = values;
    if (paths.length === 0) throw new UsageError("'eval' needs at least one --file.");
    if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens > 0)) {
      throw new UsageError(`--max-tokens is ${maxTokens}; expected an integer at least 1.`);
    }
    // Before the model: a wrong path should not wait for a download.
    const files = await Promise.all(paths.map(async (path) => ({ path, text: await readTextFile(path) })));
    const interrupt = new Interrupt();
    await using llm = await loadModel(values, interrupt.signal);
    if (llm.tokenizer && beginOfText(llm.tokenizer) === undefined) {
      warn('the tokenizer has no begin-of-text token; the first token of each file is not scored.');
    }
    const progress = new ProgressDisplay(quiet);
    const scored: { file: string; score: TextScore }[] = [];
    const begin = performance.now();
    try {
      for (const { path, text } of files) {
        const onTokens = (done: number, total: number) => progress.show(path, done, total);
        scored.push({
          file: path,
          score: await scoreText(llm, text, maxTokens, { signal: interrupt.signal, onTokens }),
        });
        progress.stop();
      }
    } finally {
      progress.stop();
      interrupt.close();
    }
    const seconds = (performance.now() - begin) / 1000;
    const total = totalScore(scored.map(({ score }) => score));
    const tokensPerSecond = total.tokens / seconds;
    if (json) {
      const result = {
        files: scored.map(({ file, score }) => ({ file, ...measures(score) })),
        total: measures(total),
        seconds,
        tokensPerSecond,
      };
      await print(`${JSON.stringify(result)}\n`);
    } else {
      const rows = [...scored, ...(scored.length > 1 ? [{ file: 'total', score: total }] : [])].map(row);
      await print(`${formatTable([['file', 'tokens', 'bytes', 'bits per byte', 'perplexity'], ...rows])}\n`);
      await print(`${tokensPerSecond.toFixed(1)} tokens/s\n`);
    }
    return 0;
  },
});

/** A file without tokens has no bits per byte; JSON writes null. */
function measures(score: TextScore) {
  return { ...score, bitsPerByte: bitsPerByte(score), perplexity: perplexity(score) };
}

function row({ file, score }: { file: string; score: TextScore }): string[] {
  const { tokens, bytes } = score;
  return [file, `${tokens}`, `${bytes}`, bitsPerByte(score).toFixed(4), perplexity(score).toFixed(3)];
}
