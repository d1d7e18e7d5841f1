import type { DestinationStream } from 'pino';
import { styled } from './styled.ts';

/** Fields of the server's log that are turned into words. */
interface LogEntry {
  readonly level: number;
  readonly time: number;
  readonly msg: string;
  readonly url?: string;
  readonly page?: boolean;
  readonly model?: string;
  readonly device?: string;
  readonly threads?: number;
  readonly loadSeconds?: number;
  readonly method?: string;
  readonly path?: string;
  readonly status?: number;
  readonly milliseconds?: number;
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  readonly err?: { readonly message?: string; readonly stack?: string };
}

/** The server's log for a person at the terminal. */
export class LogInWords implements DestinationStream {
  readonly #stream: NodeJS.WriteStream;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** @param line one entry, as JSON. */
  write(line: string): void {
    const entry: LogEntry = JSON.parse(line);
    if (entry.msg === 'listening') {
      this.#print(listening(entry, this.#stream));
      return;
    }
    const time = styled('dim', new Date(entry.time).toTimeString().slice(0, 8), this.#stream);
    this.#print(`${time} ${entry.msg === 'request' ? request(entry) : this.#remark(entry)}`);
    if (entry.err) this.#print(`${entry.err.stack ?? entry.err.message}`);
  }

  #print(text: string): void {
    this.#stream.write(`${text}\n`);
  }

  /** A message with its kind: pino's levels are 40 for warnings and 50 for errors. */
  #remark({ level, msg }: LogEntry): string {
    if (level < 40) return msg;
    return level < 50
      ? styled('yellow', `warning: ${msg}`, this.#stream)
      : styled('red', `error: ${msg}`, this.#stream);
  }
}

function listening(
  { url = '', page, model, device, threads = 1, loadSeconds = 0 }: LogEntry,
  stream: NodeJS.WriteStream,
) {
  const where =
    { cpu: 'the processor', webgpu: 'the GPU', cuda: 'the GPU', reference: 'the reference backend' }[device ?? ''] ??
    device;
  const shared = threads > 1 ? ` with ${threads} threads` : '';
  return [
    `${styled('bold', `${model}`, stream)} was loaded in ${loadSeconds.toFixed(1)} s, and runs on ${where}${shared}.`,
    ...(page ? [`Page to chat   ${url}/`] : []),
    `OpenAI's API   ${url}/v1`,
    styled('dim', 'Ctrl-C ends the server.', stream),
  ].join('\n');
}

function request({ method, path, status, milliseconds, promptTokens, completionTokens }: LogEntry): string {
  const tokens = completionTokens === undefined ? '' : `, ${promptTokens} tokens read and ${completionTokens} written`;
  return `${method} ${path} ${status} in ${milliseconds} ms${tokens}`;
}
