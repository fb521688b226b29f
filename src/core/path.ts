// Paths: how flows, scripts, variables and resources are named in their workspace, as `f/shop/orders`.

const charsMax = 255
const pattern = /^[A-Za-z0-9_-][A-Za-z0-9_.-]*(\/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$/

export const pathRule = `letters, digits, "_", "-" and "." in parts divided by "/", no part beginning with ".", at most ${charsMax} characters`

export function isPath(text: string): boolean {
  return text.length <= charsMax && pattern.test(text)
}
