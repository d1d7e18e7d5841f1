import { type Agent, request } from 'node:http';

/** One streamed request as its client saw it. Times are in milliseconds. */
export interface Measured {
  /** Time from sending the request to the first event with text. */
  readonly firstToken: number;
  /** Between two events, each of which brings a token. */
  readonly gaps: readonly number[];
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Token ids, if `return_token_ids` asked for them; else empty. */
  readonly tokenIds: readonly number[];
}

/** Fields of the request besides `stream`. */
export interface CompletionBody {
  readonly prompt: string | readonly number[];
  readonly max_tokens: number;
  readonly [field: string]: unknown;
}

interface UsageEvent {
  readonly usage: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
}

/** Characters that hold the last two events. */
const TAIL = 2000;

/** Sends a completion request and reads its stream to the end. Rejects unless it ends as it should. */
export function measure(url: string, agent: Agent, body: CompletionBody): Promise<Measured> {
  const text = JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const sent = request(`${url}/v1/completions`, { method: 'POST', agent, headers }, (response) => {
      if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
      const times: number[] = [];
      let received = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        const now = performance.now();
        // Cheap: the server shares its cores with this client.
        for (let at = chunk.indexOf('data: '); at >= 0; at = chunk.indexOf('data: ', at + 6)) times.push(now);
        received = body.return_token_ids ? received + chunk : (received + chunk).slice(-TAIL);
      });
      response.on('error', reject);
      response.on('end', () => {
        const events = received.split('\n\n').filter((event) => event !== '');
        if (events.at(-1) !== 'data: [DONE]') return reject(new Error(`the stream ends with ${events.at(-1)}`));
        const { usage }: UsageEvent = JSON.parse(events.at(-2)?.slice(6) ?? '');
        // The last two say how it went.
        const tokens = times.slice(0, -2);
        resolve({
          firstToken: tokens[0] - begin,
          gaps: tokens.slice(1).map((time, i) => time - tokens[i]),
          promptTokens: usage.prompt_tokens,
          cachedTokens: usage.prompt_tokens_details.cached_tokens,
          completionTokens: usage.completion_tokens,
          tokenIds: [...received.matchAll(/"token_ids":\[([\d,]+)\]/g)].flatMap(([, ids]) =>
            ids.split(',').map(Number),
          ),
        });
      });
    });
    sent.on('error', reject);
    sent.end(text);
  });
}
