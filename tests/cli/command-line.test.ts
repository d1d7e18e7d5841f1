import { describe, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { runCli } from './run-cli.ts';

describe('help and version', () => {
  test('the program', async () => {
    for (const argument of ['--help', '-h']) {
      const { code, stdout, stderr } = await runCli([argument]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const name of ['generate', 'chat', 'serve', 'inspect', 'pull', 'eval', 'bench'])
        expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
    expect(await runCli(['--version'])).toMatchObject({ code: 0, stdout: `${packageJson.version}\n` });
  });

  test.concurrent.each(['generate', 'chat', 'serve', 'inspect', 'pull', 'eval', 'bench'])('%s --help', async (name) => {
    const { code, stdout } = await runCli([name, '--json', '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage:\n  mamba2 ${name}`);
    expect(stdout).toContain('Examples:\n  mamba2');
    // No colours where nobody watches.
    expect(stdout).not.toContain('\u001b');
  });
});

describe('a wrong command line ends with code 2 and one line', () => {
  test.concurrent.each([
    [['generat'], /Unknown command 'generat'\. Did you mean 'generate'\?/],
    [['--foo'], /Unknown option '--foo'/],
    [['generate', 'x', '--max-tokns', '3'], /Unknown option '--max-tokns'\. Did you mean --max-tokens\?/],
    [['generate', 'x', '--max-tokens', 'abc'], /--max-tokens is 'abc'; expected a number/],
    [['generate', 'x', '--max-tokens', '0'], /--max-tokens is 0; expected an integer at least 1/],
    [['generate', 'x', '--top-p=1.5'], /--top-p is 1.5; expected a number above 0 and at most 1/],
    [['generate', 'x', '--stop='], /A stop string is empty/],
    [['generate', 'two', 'words'], /'words'.*quotes/],
    [['generate', 'x', '--prompt', 'y'], /several prompts/],
    [['generate', '--token-ids', '1,b'], /--token-ids holds 'b'/],
    [['generate'], /There is no prompt/],
    [['generate', 'x', '--device', 'tpu'], /expected one of: auto/],
    [['inspect'], /'inspect' needs <model>/],
    [['pull'], /'pull' needs <id>/],
    [['eval'], /at least one --file/],
    [['eval', '--file', 'x', '--max-tokens', '1.5'], /--max-tokens is 1.5/],
  ])('%j', async (argv, message) => {
    const { code, stdout, stderr } = await runCli(argv);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});
