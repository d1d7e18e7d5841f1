/** Distance from the bottom, in pixels, up to which the end counts as in sight. */
const NEAR = 80;

/** Makes a change inside a scrolling element, and keeps its end in sight if it was in sight before. */
export function keepEndInSight(scroller: HTMLElement, change: () => void): void {
  const { scrollTop, scrollHeight, clientHeight } = scroller;
  const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
  change();
  if (isNear) scroller.scrollTop = scroller.scrollHeight;
}
