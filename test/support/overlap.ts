// When things ran, and how many of them at a time.

export interface Span {
  from: number
  to: number
}

export function mostAtOnce(ran: readonly Span[]): number {
  const ends = ran.flatMap(({ from, to }) => [
    { at: from, by: 1 },
    { at: to, by: -1 },
  ])
  let now = 0
  let most = 0
  for (const { by } of ends.sort((a, b) => a.at - b.at)) most = Math.max(most, (now += by))
  return most
}
