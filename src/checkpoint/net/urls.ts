/** Whether a model's location is a URL rather than a path. */
export function isUrl(location: string): boolean {
  return /^https?:\/\//i.test(location);
}

/** Whether a model's location, a path or a URL, is that of a GGUF file rather than of a folder. */
export function isGguf(location: string): boolean {
  const url = isUrl(location) && URL.canParse(location) ? new URL(location) : undefined;
  return /\.gguf$/i.test(url?.pathname ?? location);
}

/** The URL of a model: that of its folder, with a '/' at the end of its path, or that of its GGUF file. */
export function modelUrl(location: string | URL): string {
  const url = new URL(location);
  if (!url.pathname.endsWith('/') && !isGguf(url.href)) url.pathname += '/';
  return url.href;
}

/** The URL of a file of a model: it lies in the model's folder, or next to its GGUF file, and has the same query. */
export function fileUrl(location: string, file: string): string {
  const url = new URL(encodeURIComponent(file), location);
  url.search = new URL(location).search;
  return url.href;
}

/** Name of the file that a location names, a path or a URL. */
export function fileNameOf(location: string): string {
  if (isUrl(location)) return decodeURIComponent(new URL(location).pathname.replace(/^.*\//, ''));
  return location.replace(/^.*[/\\]/, '');
}
