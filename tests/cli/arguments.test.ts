import { describe, expect, test } from 'vitest';
import { parseArguments } from '../../src/cli/options/arguments.ts';
import { choice, flag, number, text, texts } from '../../src/cli/options/option.ts';
import { UsageError } from '../../src/cli/options/usage-error.ts';

const OPTIONS = {
  prompt: text('text', '', 'p'),
  topK: number(''),
  stop: texts('text', ''),
  json: flag('', 'j'),
  device: choice(['cpu', 'auto'], ''),
};

const parse = (...argv: string[]) => parseArguments(OPTIONS, argv);

describe('values', () => {
  test('absent options', () => {
    expect(parse()).toEqual({
      values: { prompt: undefined, topK: undefined, stop: [], json: false, device: undefined },
      positionals: [],
    });
  });

  test.each([['--prompt', '007'], ['--prompt=007'], ['-p', '007'], ['-p007']])(
    'text stays as typed: %s %s',
    (...argv) => {
      expect(parse(...argv).values.prompt).toBe('007');
    },
  );

  test.each(['', '-', '-x', '--json', 'a=b', ' 1e3 ', 'true'])(
    'text may be anything after an equals sign: %j',
    (value) => {
      expect(parse(`--prompt=${value}`).values).toMatchObject({ prompt: value, json: false });
    },
  );

  test.each([
    ['-1', -1],
    ['007', 7],
    ['1e3', 1000],
    ['.5', 0.5],
    ['+2.', 2],
  ])('number %s', (raw, value) => {
    expect(parse('--top-k', raw).values.topK).toBe(value);
    expect(parse(`--top-k=${raw}`).values.topK).toBe(value);
  });

  test('repeated options: all of a list, the last of a single one', () => {
    const { values } = parse('--stop', 'a', '--prompt', 'x', '--stop=b', '--prompt', 'y', '--json', '-j');
    expect(values).toMatchObject({ stop: ['a', 'b'], prompt: 'y', json: true });
  });

  test('positional arguments stay text, and after -- everything is one', () => {
    expect(parse('1', '--json', '02', '--', '--prompt', '-x').positionals).toEqual(['1', '02', '--prompt', '-x']);
  });
});

describe('errors', () => {
  test.each([
    [['--top-k', 'abc'], /^--top-k is 'abc'; expected a number\.$/],
    [['--top-k='], /--top-k is ''/],
    [['--top-k', '0x10'], /expected a number/],
    [['--top-k', 'Infinity'], /expected a number/],
    [['--top-k'], /--top-k needs a value: --top-k <number>/],
    [['-p'], /-p needs a value/],
    [['-p', '--json'], /followed by '--json'.*write --prompt=--json/],
    [['--json=no'], /--json takes no value, but got 'no'/],
    [['--no-json'], /Unknown option '--no-json'/],
    [['--topk', '3'], /Unknown option '--topk'\. Did you mean --top-k\?/],
    [['-x'], /Unknown option '-x'/],
    [['--__proto__'], /Unknown option '--__proto__'/],
    [['--topK', '3'], /Unknown option '--topK'/],
    [['--device', 'gpu'], /--device is 'gpu'; expected one of: cpu, auto/],
  ])('%j', (argv, message) => {
    const failure = () => parse(...argv);
    expect(failure).toThrow(UsageError);
    expect(failure).toThrow(message);
  });
});
