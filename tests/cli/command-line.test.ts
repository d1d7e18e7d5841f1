import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { nodeProblem } from '../../src/cli/node-version.ts';
import { inFlags } from '../../src/cli/options/flag-names.ts';
import { modelOptions } from '../../src/cli/options/model-options.ts';
import { modelsBySize } from '../../src/cli/reports/models-by-size.ts';
import { MAIN, runCli, spawnCli } from './run-cli.ts';

describe('help and version', () => {
  test('the program', async () => {
    for (const argument of ['--help', '-h']) {
      const { code, stdout, stderr } = await runCli([argument]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const name of [
        'generate',
        'chat',
        'serve',
        'inspect',
        'pull',
        'convert',
        'list',
        'rm',
        'eval',
        'bench',
        'completion',
      ])
        expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
    for (const runIt of [runCli, spawnCli])
      expect(await runIt(['--version'])).toMatchObject({ code: 0, stdout: `${packageJson.version}\n` });
  });

  test.each(['generate', 'chat', 'serve', 'inspect', 'pull', 'convert', 'list', 'rm', 'eval', 'bench'])(
    '%s --help',
    async (name) => {
      const { code, stdout } = await runCli([name, '--json', '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: mamba2 ${name}`);
      expect(stdout).toContain('Examples:\n  mamba2');
      // No colours where nobody watches.
      expect(stdout).not.toContain('\u001b');
      // -n is one thing everywhere.
      expect(stdout.match(/^ +-n, (\S+)/m)?.[1] ?? '--max-tokens').toBe('--max-tokens');
    },
  );

  test.each([40, 64, 100])('help keeps to a terminal of %i columns', async (columns) => {
    const { stdout } = await runCli(['chat', '--help'], { env: { COLUMNS: `${columns}` } });
    const [text] = stdout.split('Examples:');
    // A flag is not broken, however long.
    const lines = text.split('\n').filter((line) => !/^ *--\S+$/.test(line));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(text.replaceAll(/\s+/g, ' ')).toContain('--seed <number> The same seed gives the same text');
  });
});

describe('a wrong command line ends with code 2 and one line', () => {
  test.each([
    [['generat'], /Unknown command 'generat'\. Did you mean generate\?/],
    [['--foo'], /Unknown option '--foo'/],
    [['generate', 'x', '--max-tokns', '3'], /Unknown option '--max-tokns'\. Did you mean --max-tokens\?/],
    [['generate', 'x', '--max-tokens', 'abc'], /--max-tokens is 'abc'; expected a number/],
    [['generate', 'x', '--max-tokens', '0'], /--max-tokens is 0; expected an integer at least 1/],
    [['generate', 'x', '--top-p=1.5'], /--top-p is 1.5; expected a number above 0 and at most 1/],
    [['generate', 'x', '--stop='], /^error: --stop has an empty text/],
    [['generate', 'two', 'words'], /Too many arguments for 'generate'.*quotes/],
    [['generate', 'x', '--prompt', 'y'], /several prompts/],
    [['generate', '--token-ids', '1,b'], /--token-ids holds 'b'/],
    [['generate'], /There is no prompt/],
    [['generate', 'x', '--device', 'tpu'], /expected one of: auto/],
    [['inspect'], /required argument 'model'/],
    [['pull'], /required argument 'id'/],
    [['convert'], /required argument 'model'/],
    [['convert', 'tiny-dts', '--dtype', 'int3'], /expected one of: int8, int4, bfloat16/],
    [['convert', 'tiny-dts', '--out', 'src'], /--out '.*src' is not empty/],
    [['eval'], /at least one --file/],
    [['eval', '--file', 'x', '--max-tokens', '1.5'], /--max-tokens is 1.5/],
    [['chat', 'a', '--model', 'b'], /two models: 'a' and --model 'b'/],
    [['bench', 'a', '--model', 'b'], /two models/],
    [['generate', 'x', '--min-p', '2'], /^error: --min-p is 2/],
    [['generate', 'x', '--presence-penalty', '3'], /^error: --presence-penalty is 3/],
    [['generate', 'x', '--min-tokens', '300'], /^error: --min-tokens is 300/],
    [['generate', 'x', '--n', '0'], /^error: --n is 0/],
    [['generate', 'x', '--seed', '99999999999999999999'], /^error: --seed is 99999999999999999999; .*64 bits/],
    [['generate', 'x', '--seed', '1.5'], /^error: --seed is '1\.5'; expected a whole number/],
    [['generate', 'x', '--logit-bias', '5'], /--logit-bias holds '5'; expected pairs/],
    [['generate', 'x', '--logit-bias', '5=101'], /^error: --logit-bias is 101/],
    [['generate', 'x', '--stop-token-ids', '1,x'], /--stop-token-ids holds 'x'/],
    [['generate', 'x', '--logprobs', '3'], /--logprobs has no effect without --json/],
    [['generate', 'x', '--logprobs', '30', '--json'], /--logprobs is 30/],
    [['generate', 'x', '--tensor-parallel-size', '0'], /^error: --tensor-parallel-size is 0; expected 'auto'/],
    [['generate', 'x', '--tensor-parallel-size', 'many'], /--tensor-parallel-size is 'many'; expected 'auto'/],
    [['bench', 'tiny-dts', '--output', 'x'], /--output has no effect without --device webgpu/],
    [['serve', '--served-model-name='], /A name of the model is empty/],
    [['serve', '--cors', 'https://example.org/'], /origin 'https:\/\/example\.org\/'.*Give https:\/\/example\.org, or/],
    [['serve', '--metrics-prefix', 'a b'], /^error: --metrics-prefix is 'a b'/],
    [['generate', 'x', '--kv-cache-size', '0'], /^error: --kv-cache-size is 0/],
  ])('%j', async (argv, message) => {
    const { code, stdout, stderr } = await runCli(argv);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

describe("flags in place of the library's names", () => {
  test.each([
    [
      "tensorParallelSize is 3, which does not divide the model's 8 heads.",
      "--tensor-parallel-size is 3, which does not divide the model's 8 heads.",
    ],
    ['Use tensorParallelSize 1.', 'Use --tensor-parallel-size 1.'],
    ['Set HF_HOME, or the cacheDir option, to a folder that can.', 'Set HF_HOME to a folder that can.'],
    [
      'Use a smaller dtype, fewer slots (maxNumSeqs).',
      'Use a smaller dtype, fewer slots (sequences at the same time).',
    ],
    ['The model of the tensor myTensorParallelSize.', 'The model of the tensor myTensorParallelSize.'],
    ["There is no model 'x'.", "There is no model 'x'."],
  ])('%s', (message, said) => {
    expect(inFlags(message, modelOptions)).toBe(said);
  });
});

test('the models that help lists are those of README.md, with the same figures', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const [, ...rows] = modelsBySize().split('\n');
  expect(rows.length).toBeGreaterThan(5);
  for (const row of rows) {
    const [, id, size, memory, speed] = /^(\S+).*? ([\d.]+ [MB]) +([\d.]+) GB +([\d.]+)$/.exec(row) ?? [];
    const line = readme.split('\n').find((each) => each.startsWith(`| \`${id}\``)) ?? '';
    expect(line.replaceAll('*', '')).toMatch(new RegExp(`\\| ${size} \\| ${memory} \\|.*\\| ${speed} / `));
  }
});

describe('versions of Node', () => {
  test.each(['20.19.0', '20.20.2', '22.1.0', '24.0.0', '30.1.2'])('%s will do', (version) => {
    expect(nodeProblem(version)).toBe('');
  });

  test.each(['12.22.12', '18.20.8', '20.18.3', '0.10.1'])('%s is too old', (version) => {
    expect(nodeProblem(version)).toMatch(/^mamba2 needs Node 20\.19 or newer, and this is Node .*\.$/);
  });
});

describe('what the machine refuses', () => {
  test.runIf(existsSync('/dev/full'))('a full disk under standard output: one line', () => {
    const full = openSync('/dev/full', 'w');
    onTestFinished(() => closeSync(full));
    const { status, stderr } = spawnSync(process.execPath, [MAIN, '--help'], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    expect(stderr).toMatch(/^error: Standard output can't be written: ENOSPC.*\n$/);
    expect(status).toBe(1);
  });
});
