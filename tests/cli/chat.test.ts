import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { runCli } from './run-cli.ts';
import { changedTiny } from './tiny-dts.ts';

const TEMPLATE = '{{ bos_token }}{% for m in messages %}// {{ m.role }}: {{ m.content }}\n{% endfor %}';
const OPTIONS = ['--temperature', '0', '--ignore-eos', '--max-tokens', '6'];
const SAMPLING = { temperature: 0, ignoreEos: true, maxTokens: 6 };

describe('chat', () => {
  test('answers every line of a pipe, remembers, resets and exits', async () => {
    const folder = await changedTiny({ 'chat_template.jinja': TEMPLATE });
    const stdin = 'export one\n\n  export two \n/reset\nexport one\n/exit\nexport three\n';
    const { code, stdout, stderr } = await runCli(['chat', '-m', folder, '--system', 'Be brief.', ...OPTIONS], {
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
    const { code, stdout } = await runCli(['chat', '-m', folder, ...OPTIONS], { stdin: 'export one' });
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(1);
  });

  test('Ctrl-C ends it with code 130', async () => {
    const folder = await changedTiny({ 'chat_template.jinja': TEMPLATE });
    const args = ['chat', '-m', folder, '--ignore-eos', '--max-tokens', '100000'];
    const { code, stderr } = await runCli(args, { stdin: 'export one\n', onOutput: (interrupt) => interrupt() });
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
  });

  test('a model without a template is told about generate', async () => {
    const { code, stdout, stderr } = await runCli(['chat', '--model', await changedTiny({})], { stdin: 'hello\n' });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^error: '.*' has no chat template.*mamba2 generate.*\n$/);
  });
});
