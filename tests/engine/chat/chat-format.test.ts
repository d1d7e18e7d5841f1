import { describe, expect, test } from 'vitest';
import { ChatFormat } from '../../../src/engine/chat/chat-format.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { SamplingParamsError } from '../../../src/errors.ts';
import { ChatTemplate } from '../../../src/text/chat/chat-template.ts';
import type { Tool } from '../../../src/text/parsers/tool-definition.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { changedTiny, TINY_DTS, tinyFile } from '../../cli/tiny-dts.ts';

const tools: Tool[] = [{ type: 'function', function: { name: 'f', strict: false } }];
const template = new ChatTemplate('{{ tools }}{# <tool_call> </think> #}');

/** The bundled model's tokenizer, in which `<tool_call>` is a special token. */
async function withSpecialMarker(): Promise<TextTokenizer | undefined> {
  const json = JSON.parse(String(await tinyFile('tokenizer.json')));
  const added = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  json.added_tokens.push({ ...added, id: Object.keys(json.model.vocab).length, content: '<tool_call>' });
  const folder = await changedTiny({ 'tokenizer.json': JSON.stringify(json) });
  return TextTokenizer.fromFolder(folder);
}

describe('special tokens', () => {
  test('are shown where they mark what is looked for', async () => {
    const format = new ChatFormat(template, await withSpecialMarker());
    expect(format.plan({ tools }).generate({} as GenerateOptions, []).skipSpecialTokens).toBe(false);
    // Without tools no call is looked for.
    expect(format.plan({}).generate({ skipSpecialTokens: true }, []).skipSpecialTokens).toBe(true);
  });

  test('are left out where markers are plain text', async () => {
    const format = new ChatFormat(template, await TextTokenizer.fromFolder(TINY_DTS));
    expect(format.plan({ tools }).generate({ skipSpecialTokens: true }, []).skipSpecialTokens).toBe(true);
  });
});

describe('tools', () => {
  const format = new ChatFormat(template, undefined);

  test('get to the template without what is not for the model', () => {
    expect(format.plan({ tools }).template.tools).toEqual([{ type: 'function', function: { name: 'f' } }]);
    expect(format.plan({ tools, toolChoice: 'none' }).template.tools).toBeUndefined();
  });

  test('need a template that writes them, and a form of calls', () => {
    const without = new ChatFormat(new ChatTemplate('{{ messages }}{# <tool_call> #}'), undefined);
    expect(() => without.plan({ tools })).toThrow(SamplingParamsError);
    const unknown = new ChatFormat(new ChatTemplate('{{ tools }}'), undefined);
    expect(() => unknown.plan({ tools })).toThrow(/Name a parser/);
    const named = new ChatFormat(new ChatTemplate('{{ tools }}'), undefined, { toolCallParser: 'mistral' });
    expect(named.plan({ tools }).form([]).toolCalls?.dialect.name).toBe('mistral');
  });

  test('of which one must be called leave no room for another form', () => {
    const plan = format.plan({ tools, toolChoice: 'required' });
    expect(() => plan.generate({ structuredOutputs: { regex: 'a' } }, [])).toThrow(/^toolChoice asks for calls/);
    expect(plan.generate({} as GenerateOptions, []).structuredOutputs?.structuralTag).toBeDefined();
    expect(format.plan({ tools }).generate({} as GenerateOptions, []).structuredOutputs).toBeUndefined();
  });
});
