import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ChatTemplate } from '../../src/text/chat/chat-template.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';

const template = new ChatTemplate(readFileSync(`${TINY_DTS}/chat_template.jinja`, 'utf8'));

function render(...messages: (readonly [role: string, content: string])[]): string {
  return template.render(
    messages.map(([role, content]) => ({ role, content })),
    { bosToken: '<bos>' },
  );
}

describe('the completion template of the bundled model', () => {
  test('says what it is', () => {
    expect(template.kind).toBe('completion');
    expect(new ChatTemplate('{{- "completion" }}').kind).toBe('chat');
    expect(new ChatTemplate('{# completions of others #}').kind).toBe('chat');
    expect(new ChatTemplate('{# completion #}{{ messages }}').kind).toBe('completion');
  });

  test.each([
    'export interface User {',
    'declare class A',
    'import type { X } from ',
    '// Sizes\nexport ',
    ' type A =',
  ])('hands over what looks like the beginning of a declaration as it is: %s', (text) => {
    expect(render(['user', text])).toBe(`<bos>${text}`);
  });

  test.each([
    ['hello', '/** hello */\n'],
    [' What is a promise?\n\n', '/** What is a promise? */\n'],
    ['Two\nlines', '/** Two\n * lines */\n'],
    ['no */ way out', '/** no * / way out */\n'],
    ['exporters', '/** exporters */\n'],
    ['', '/**  */\n'],
  ])('makes a comment of anything else: %j', (text, comment) => {
    expect(render(['user', text])).toBe(`<bos>${comment}`);
  });

  test('a conversation is one file, which every turn only lengthens', () => {
    const first = [
      ['system', 'Of a shop.'],
      ['user', 'export interface Item {'],
    ] as const;
    const file = '<bos>/** Of a shop. */\n\nexport interface Item {';
    expect(render(...first)).toBe(file);
    const answer = '\n  price: number;\n}\n';
    expect(render(...first, ['assistant', answer], ['user', 'A cart'])).toBe(`${file}${answer}\n/** A cart */\n`);
  });
});
