/** Distance from the bottom, in pixels: a reader who is this close wants to see what comes next. */
const NEAR = 80;

/** Makes a change inside a scrolling element, and keeps its end in sight for a reader who is there. */
export function keepEndInSight(scroller: HTMLElement, change: () => void): void {
  const { scrollTop, scrollHeight, clientHeight } = scroller;
  const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
  change();
  if (isNear) scroller.scrollTop = scroller.scrollHeight;
}
