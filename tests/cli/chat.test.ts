import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { runCli, runOnOneRank, spawnCli } from './run-cli.ts';
import { changedTiny, tinyFile } from './tiny-dts.ts';

const TEMPLATE = '{{ bos_token }}{% for m in messages %}// {{ m.role }}: {{ m.content }}\n{% endfor %}';
const OPTIONS = ['--temperature', '0', '--ignore-eos', '--max-tokens', '6'];
const SAMPLING = { temperature: 0, ignoreEos: true, maxTokens: 6 };

describe('chat', () => {
  test('answers every line of a pipe, remembers, resets and exits', async () => {
    const folder = await changedTiny({ 'chat_template.jinja': TEMPLATE });
    const stdin = 'export one\n\n  export two \n/reset\nexport one\n/exit\nexport three\n';
    const { code, stdout, stderr } = await runOnOneRank(['chat', '-m', folder, '--system', 'Be brief.', ...OPTIONS], {
      stdin,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });

    await using llm = await LLM.load(folder);
    const answer = async (...messages: (readonly [string, string])[]) => {
      let text = '';
      const conversation = messages.map(([role, content]) => ({ role, content }));
      for await (const chunk of llm.chat(conversation, SAMPLING)) text += chunk.text;
      return text;
    };
    const system = ['system', 'Be brief.'] as const;
    const one = await answer(system, ['user', 'export one']);
    const two = await answer(system, ['user', 'export one'], ['assistant', one], ['user', 'export two']);
    expect(stdout).toBe(`${one}\n${two}\n${one}\n`);
  });

  test('a last line without a line end counts, and the end of the input ends it', async () => {
    const folder = await changedTiny({ 'chat_template.jinja': TEMPLATE });
    const { code, stdout } = await runOnOneRank(['chat', '-m', folder, ...OPTIONS], { stdin: 'export one' });
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(1);
  });

  test('Ctrl-C ends it with code 130', async () => {
    const folder = await changedTiny({ 'chat_template.jinja': TEMPLATE });
    const args = ['chat', '-m', folder, '--ignore-eos', '--max-tokens', '100000', '--tensor-parallel-size', '1'];
    const { code, stderr } = await spawnCli(args, { stdin: 'export one\n', onOutput: (interrupt) => interrupt() });
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
  });

  test('commands that there are not are answered, and not sent; paths and comments are messages', async () => {
    const folder = await changedTiny({ 'chat_template.jinja': TEMPLATE });
    const args = ['chat', folder, ...OPTIONS];
    const { code, stdout, stderr } = await runOnOneRank(args, {
      stdin: '/help\n/foo\n/** x */\n/usr/bin\n /foo\n/quit\nexport one\n',
    });
    expect(code).toBe(0);
    expect(stdout.match(/\n/g)?.length).toBeGreaterThanOrEqual(3);
    expect(stderr).toMatch(/^\/help shows this.*\nThere is no command \/foo\. \/help .*\n$/);
  });

  test('--chat-template: a file, Jinja itself, a name, or one of the list of the model', async () => {
    const list = [
      { name: 'default', template: '{{ raise_exception("not this one") }}' },
      { name: 'other', template: 'export {{ messages[-1].content }}' },
    ];
    const tokenizer = { ...JSON.parse(String(await tinyFile('tokenizer_config.json'))), chat_template: list };
    const folder = await changedTiny({ 'tokenizer_config.json': tokenizer, 'own.jinja': list[1].template });
    const ask = async (template: string) => {
      const args = ['chat', folder, '--chat-template', template, '--temperature', '0', '-n', '6'];
      return runOnOneRank(args, { stdin: 'interface A {' });
    };
    const { stdout, code } = await ask(`${folder}/own.jinja`);
    expect(code).toBe(0);
    expect(stdout).not.toBe('\n');
    for (const same of ['other', list[1].template]) expect((await ask(same)).stdout).toBe(stdout);
    const plain = await runOnOneRank(['generate', 'interface A {', '-m', folder, '--temperature', '0', '-n', '6']);
    expect((await ask('completion')).stdout).toBe(plain.stdout);
    const unknown = await ask('nonsense');
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toMatch(
      /^error: --chat-template is 'nonsense'.*Names: completion, chatml, default, other\.\n$/,
    );
  });

  test('the bundled model continues what a message begins', async () => {
    const args = ['chat', '--temperature', '0', '-n', '8'];
    const { code, stdout, stderr } = await runOnOneRank(args, { stdin: 'export interface User {' });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const plain = await runOnOneRank(['generate', 'export interface User {', '--temperature', '0', '-n', '8']);
    expect(stdout).toBe(plain.stdout);
  });

  test('a model without a template is told about generate', async () => {
    const { code, stdout, stderr } = await runCli(['chat', '--model', await changedTiny({})], { stdin: 'hello\n' });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^error: '.*' has no chat template.*mamba2 generate.*\n$/);
  });
});
