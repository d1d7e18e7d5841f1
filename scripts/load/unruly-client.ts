import { request } from 'node:http';
import { HOSTILE_REQUESTS } from './hostile-requests.ts';
import type { CompletionBody } from './streamed-request.ts';

/** How requests of the soak ended, by kind. */
export type Outcomes = Map<string, number>;

/** A client of the soak: most read to the end, some leave, some send nonsense, some are slow, some ask for all they can. */
export async function unrulyRequest(url: string, body: CompletionBody, random: () => number): Promise<string> {
  const kind = random();
  if (kind < 0.05) return send(url, '{"prompt": [1, 2', () => 'continue');
  if (kind < 0.1) return send(url, JSON.stringify({ ...body, temperature: -1 }), () => 'continue');
  const extras = { n: random() < 0.2 ? 2 : 1, stream: random() < 0.8, ...(random() < 0.2 && { logprobs: 3 }) };
  const text = JSON.stringify({ ...body, ...extras, ignore_eos: false });
  if (kind < 0.35) {
    const patience = Math.floor(random() * 20);
    return send(url, text, (chunks) => (chunks > patience ? 'leave' : 'continue'));
  }
  if (kind < 0.4) return send(url, text, () => 'pause');
  if (kind < 0.44) {
    const hostile = JSON.stringify(HOSTILE_REQUESTS[Math.floor(random() * HOSTILE_REQUESTS.length)]);
    const patience = random() < 0.5 ? 3 : Number.POSITIVE_INFINITY;
    return send(url, hostile, (chunks) => (chunks > patience ? 'leave' : random() < 0.5 ? 'pause' : 'continue'));
  }
  return send(url, text, () => 'continue');
}

/** Reads the answer to the end. */
export function sendHostile(url: string, body: object): Promise<string> {
  return send(url, JSON.stringify(body), () => 'continue');
}

/** → the status, or 'left'. */
function send(url: string, body: string, read: (chunks: number) => 'continue' | 'pause' | 'leave'): Promise<string> {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/v1/completions`, { method: 'POST', headers, agent: false }, (response) => {
      let chunks = 0;
      response.on('data', () => {
        chunks++;
        const next = read(chunks);
        if (next === 'pause') {
          response.pause();
          setTimeout(() => response.resume(), 30);
        }
        if (next === 'leave') {
          response.destroy();
          resolve('left');
        }
      });
      response.on('end', () => resolve(`${response.statusCode}`));
      response.on('error', () => resolve('left'));
    });
    // Before the answer began, too: some leave while they wait.
    if (read(1000) === 'leave') setTimeout(() => sent.destroy(), 300).unref();
    sent.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve('left') : reject(error)));
    sent.end(body);
  });
}
