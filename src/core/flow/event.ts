// Events: what a flow with a preprocessor is started by. Its job's arguments are the event, until the preprocessor has made its input.
import type { JsonText } from '../json.ts'

/** The one argument of such a job. */
export const eventKey = '$event'

const opening = `{${JSON.stringify(eventKey)}:`

export function argsOfEvent(event: JsonText): JsonText {
  return `${opening}${event}}`
}

export function isEvent(args: JsonText): boolean {
  return args.startsWith(opening)
}
