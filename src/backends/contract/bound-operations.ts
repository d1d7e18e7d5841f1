/** A function that carries out an operation for a backend, whose calls it gets before the operation's own arguments. */
export type OperationCall<Calls, Method> = Method extends (...args: infer Args) => infer Result
  ? (calls: Calls, ...args: Args) => Result
  : never;

/** Functions for operations, by the operations' names in the contract. */
export type OperationCalls<Calls, Operations> = {
  readonly [Name in keyof Operations]: OperationCall<Calls, Operations[Name]>;
};

/** The functions as methods of one backend. */
export function boundOperations<Calls, Operations extends object>(
  operations: OperationCalls<Calls, Operations>,
  calls: Calls,
): Operations {
  const entries = Object.entries<(calls: Calls, ...args: unknown[]) => unknown>(operations);
  return Object.fromEntries(entries.map(([name, call]) => [name, call.bind(undefined, calls)])) as Operations;
}
