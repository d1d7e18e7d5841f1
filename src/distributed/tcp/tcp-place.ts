import { ArgumentError } from '../../errors.ts';

/** A process's place among those that find each other by the address of the first. */
export interface TcpPlace {
  /** `host:port` where process 0 listens. */
  readonly address: string;
  /** This process, from 0 on. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
}

/**
 * The place that the environment gives this process: MAMBA2_JOB is `host:port` of process 0, MAMBA2_JOB_RANK and
 * MAMBA2_JOB_SIZE are numbers. Undefined without MAMBA2_JOB. @throws ArgumentError
 */
export function tcpPlaceOf(environment: Readonly<Record<string, string | undefined>>): TcpPlace | undefined {
  const { MAMBA2_JOB: address, MAMBA2_JOB_RANK: rank = '', MAMBA2_JOB_SIZE: size = '' } = environment;
  if (!address) return undefined;
  const number = (text: string) => (text === '' ? Number.NaN : Number(text));
  const place = { address, rank: number(rank), size: number(size) };
  partsOf(place);
  return place;
}

/** The host and port of a place's address. @throws ArgumentError where the place can't be one. */
export function partsOf({ address, rank, size }: TcpPlace): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port >= 0 && port < 65536)) {
    throw new ArgumentError(`The job's address is '${address}'.`, "Use 'host:port', as '10.0.0.1:29500'.");
  }
  if (Number.isInteger(size) && size >= 1 && Number.isInteger(rank) && rank >= 0 && rank < size) return { host, port };
  throw new ArgumentError(
    `The process is number ${rank} of ${size} of its job.`,
    'Number them from 0 on: MAMBA2_JOB_RANK, below MAMBA2_JOB_SIZE.',
  );
}
