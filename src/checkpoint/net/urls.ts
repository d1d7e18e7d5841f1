/** Whether a model's location is a URL rather than a folder. */
export function isUrl(location: string): boolean {
  return /^https?:\/\//i.test(location);
}

/** The URL of a folder, with a '/' at the end of its path. */
export function folderUrl(location: string | URL): string {
  const url = new URL(location);
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url.href;
}

/** The URL of a file in a folder, with the folder's query. */
export function fileUrl(folder: string, file: string): string {
  const url = new URL(encodeURIComponent(file), folder);
  url.search = new URL(folder).search;
  return url.href;
}
