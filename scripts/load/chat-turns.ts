import { Agent } from 'node:http';
import { measure } from './streamed-request.ts';

/** One turn of a conversation, as its client saw it. */
export interface Turn {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly firstToken: number;
}

/**
 * A conversation: each turn sends all that was said before, answers included, and one more text. As token ids, because
 * a text that is cut anywhere has other tokens at the cut than the whole; chat templates end messages with tokens of
 * their own.
 */
export async function runChat(url: string, texts: readonly string[]): Promise<Turn[]> {
  const agent = new Agent({ keepAlive: true });
  const conversation: number[] = [];
  const turns: Turn[] = [];
  for (const text of texts) {
    conversation.push(...(await tokenize(url, text)));
    const body = { prompt: conversation, max_tokens: 16, temperature: 0, ignore_eos: true, return_token_ids: true };
    const { promptTokens, cachedTokens, firstToken, tokenIds } = await measure(url, agent, body);
    turns.push({ promptTokens, cachedTokens, firstToken });
    conversation.push(...tokenIds);
  }
  agent.destroy();
  return turns;
}

async function tokenize(url: string, prompt: string): Promise<number[]> {
  const response = await fetch(`${url}/tokenize`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt, add_special_tokens: false }),
  });
  const { tokens }: { tokens: number[] } = await response.json();
  return tokens;
}
