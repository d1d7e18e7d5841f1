/** From the bottom, in pixels: a reader who is that close wants to see what comes. */
const NEAR = 80;

/** Makes a change inside of what scrolls, and keeps the end in sight for a reader who is there. */
export function keepEndInSight(scroller: HTMLElement, change: () => void): void {
  const { scrollTop, scrollHeight, clientHeight } = scroller;
  const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
  change();
  if (isNear) scroller.scrollTop = scroller.scrollHeight;
}
