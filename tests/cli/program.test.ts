import { describe, expect, test } from 'vitest';
import { candidates } from '../../src/cli/candidates.ts';
import { COMMANDS, type CommandEntry } from '../../src/cli/commands.ts';
import { defineCommand } from '../../src/cli/options/command.ts';
import { choice, flag, number, text, texts } from '../../src/cli/options/option.ts';
import { UsageError } from '../../src/cli/options/usage-error.ts';
import { runProgram } from '../../src/cli/program.ts';

const OPTIONS = {
  prompt: text('text', '', 'p'),
  topK: number(''),
  stop: texts('text', ''),
  json: flag('', 'j'),
  noPage: flag(''),
  device: choice(['cpu', 'auto'], ''),
};

/** What a command with these options gets from a command line. */
async function parse(...argv: string[]) {
  const got: { readonly values: object; readonly positionals: readonly string[] }[] = [];
  const load = async () =>
    defineCommand({
      details: '',
      options: OPTIONS,
      examples: [],
      run: async ({ verbose: _, ...values }, positionals) => {
        got.push({ values, positionals });
        return 0;
      },
    });
  const entry: CommandEntry = { name: 'read', summary: 'Read', positionals: ['[word...]'], load };
  await runProgram([entry], ['read', ...argv]);
  return got[0];
}

describe('values', () => {
  test('absent options', async () => {
    expect(await parse()).toEqual({
      values: { prompt: undefined, topK: undefined, stop: [], json: false, noPage: false, device: undefined },
      positionals: [],
    });
  });

  test.each([['--prompt', '007'], ['--prompt=007'], ['-p', '007'], ['-p007']])(
    'text stays as typed: %s %s',
    async (...argv) => {
      expect((await parse(...argv)).values).toMatchObject({ prompt: '007' });
    },
  );

  test.each(['', '-', '-x', '--json', 'a=b', ' 1e3 ', 'true'])(
    'text may be anything after an equals sign: %j',
    async (value) => {
      expect((await parse(`--prompt=${value}`)).values).toMatchObject({ prompt: value, json: false });
    },
  );

  test.each([
    ['-1', -1],
    ['007', 7],
    ['1e3', 1000],
    ['.5', 0.5],
    ['+2.', 2],
  ])('number %s', async (raw, value) => {
    expect((await parse('--top-k', raw)).values).toMatchObject({ topK: value });
    expect((await parse(`--top-k=${raw}`)).values).toMatchObject({ topK: value });
  });

  test('repeated options: all of a list, the last of a single one', async () => {
    const { values } = await parse('--stop', 'a', '--prompt', 'x', '--stop=b', '--prompt', 'y', '--json', '-j');
    expect(values).toMatchObject({ stop: ['a', 'b'], prompt: 'y', json: true });
  });

  test('positional arguments stay text, and after -- everything is one', async () => {
    const { positionals } = await parse('1', '--json', '02', '--', '--prompt', '-x');
    expect(positionals).toEqual(['1', '02', '--prompt', '-x']);
  });

  test('a flag whose name begins with no', async () => {
    expect((await parse('--no-page')).values).toMatchObject({ noPage: true });
  });
});

describe('errors', () => {
  test.each([
    [['--top-k', 'abc'], /^--top-k is 'abc'; expected a number\.$/],
    [['--top-k='], /--top-k is ''/],
    [['--top-k', '0x10'], /expected a number/],
    [['--top-k', 'Infinity'], /expected a number/],
    [['--top-k'], /'--top-k <number>' argument missing/],
    [['-p'], /'-p, --prompt <text>' argument missing/],
    [['-p', '--json'], /followed by '--json'.*write --prompt=--json/],
    [['--json=no'], /--json takes no value, but got 'no'/],
    [['--no-json'], /Unknown option '--no-json'/],
    [['--topk', '3'], /Unknown option '--topk'\. Did you mean --top-k\?/],
    [['-x'], /Unknown option '-x'/],
    [['--__proto__'], /Unknown option '--__proto__'/],
    [['--topK', '3'], /Unknown option '--topK'/],
    [['--device', 'gpu'], /--device is 'gpu'; expected one of: cpu, auto/],
  ])('%j', async (argv, message) => {
    const failure = await parse(...argv).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UsageError);
    expect(failure).toHaveProperty('message', expect.stringMatching(message));
  });
});

describe('completion of the last word', () => {
  test.each([
    ['', ['generate', 'chat', 'serve']],
    ['ch', ['chat']],
    ['chat --dev', ['--device']],
    ['chat --device w', ['webgpu']],
    ['chat tiny', ['tiny-dts']],
    ['generate -m tiny', ['tiny-dts']],
    ['nothing -', []],
    // The shell offers files.
    ['eval ', []],
    ['eval --file ', []],
  ])('%j', async (line, expected) => {
    const found = await candidates(COMMANDS, line.split(' '));
    expect(line === '' ? found.slice(0, 3) : found).toEqual(expected);
  });
});
