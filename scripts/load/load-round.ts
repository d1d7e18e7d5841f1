import { Agent } from 'node:http';
import { type CompletionBody, type Measured, measure } from './streamed-request.ts';

/** All requests at one concurrency. */
export interface LoadRound {
  readonly concurrency: number;
  readonly seconds: number;
  readonly requests: readonly Measured[];
}

/** Keeps `concurrency` requests running: when one ends, the next begins. */
export async function runRound(
  url: string,
  bodies: readonly CompletionBody[],
  concurrency: number,
): Promise<LoadRound> {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const waiting = bodies.values();
  const requests: Measured[] = [];
  const begin = performance.now();
  const client = async () => {
    for (const body of waiting) requests.push(await measure(url, agent, body));
  };
  await Promise.all(Array.from({ length: concurrency }, client));
  agent.destroy();
  return { concurrency, seconds: (performance.now() - begin) / 1000, requests };
}

/** Answer tokens per second of all requests together. */
export function throughput({ requests, seconds }: LoadRound): number {
  return requests.reduce((sum, { completionTokens }) => sum + completionTokens, 0) / seconds;
}
