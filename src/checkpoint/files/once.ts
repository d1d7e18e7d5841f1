/** Results that are made on the first call for a key and kept. A failure is not: the next try may succeed. */
export async function once<T>(results: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const result = results.get(key) ?? make();
  results.set(key, result);
  return result.catch((error: unknown) => {
    results.delete(key);
    throw error;
  });
}
