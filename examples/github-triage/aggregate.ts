// An event beside what came before it. The picture lives in the warm runner's memory: it is of this runner, since it
// started. What must outlive a runner belongs into a database, or into the flow's result, as `verdict` here.

interface Picture {
  events: number
  meanScore: number
  urgent: number
}

const urgentFrom = 40
const byRoute = new Map<string, Picture>()

export function main(
  event: { route: string; kind: string; repository: string; title: string },
  score: { points: number; reasons: string[] },
) {
  const picture = byRoute.get(event.route) ?? { events: 0, meanScore: 0, urgent: 0 }
  byRoute.set(event.route, picture)
  picture.events += 1
  picture.meanScore += (score.points - picture.meanScore) / picture.events
  if (score.points >= urgentFrom) picture.urgent += 1
  return {
    verdict: score.points >= urgentFrom ? 'urgent' : score.points > picture.meanScore ? 'soon' : 'later',
    route: event.route,
    title: event.title,
    repository: event.repository,
    points: score.points,
    reasons: score.reasons,
    seen: { route: picture.events, mean: Math.round(picture.meanScore * 10) / 10, urgent: picture.urgent },
  }
}
