// Forks and rewinds a session, saves it and loads it again: node examples/session.js [model]
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { LLM } from 'mamba2';

const llm = await LLM.load(process.argv[2] ?? 'tiny-dts');
const greedy = { maxTokens: 16, temperature: 0 };

/** @param {import('mamba2').Session} session @param {string} [prompt] @returns {Promise<string>} */
async function answer(session, prompt) {
  let text = prompt ?? '';
  for await (const chunk of session.generate(prompt, greedy)) text += chunk.text;
  return text;
}

// The state after this text is computed once. Whatever continues it costs only its own tokens.
const session = llm.createSession();
await session.append('/** A point in the plane. */\nexport interface Point {\n  x: number;\n  y: number;\n}\n\n');
const start = session.tokenIds.length;

// A fork shares the state and leaves the session as it is.
const fork = session.fork();
console.log('fork:   ', JSON.stringify(await answer(fork, 'export declare function distance(')));
fork.dispose();

// A rewind forgets the last tokens of this session, here all of the first answer.
console.log('session:', JSON.stringify(await answer(session, 'export declare class ')));
session.rewind(session.tokenIds.length - start);
const again = await answer(session, 'export declare class ');
console.log('again:  ', JSON.stringify(again));

// A session is saved as bytes. Any process that has the same model can load them.
const folder = await mkdtemp(join(tmpdir(), 'session-'));
const file = join(folder, 'session.safetensors');
await writeFile(file, await session.save());
const restored = await llm.loadSession(await readFile(file));
console.log('restored after', restored.tokenIds.length, 'tokens:', JSON.stringify(await answer(restored)));

await rm(folder, { recursive: true });
await llm.dispose();
