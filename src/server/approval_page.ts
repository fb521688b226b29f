// The page behind `approvalPage`: asks whoever opens it before it answers, since whatever opens links by itself does not press buttons.
//   P1. Everything that comes from a flow is escaped; no script but the page's own runs (contentPolicy).
import { membersOf, type ApprovalInfo } from './answers.ts'

interface Page {
  /** A text: why there is nothing to ask. */
  info: ApprovalInfo | string
  jobId: string
  resume: string
  cancel: string
}

interface Field {
  type?: string
  title?: string
  description?: string
  default?: unknown
  enum?: unknown[]
}

export function contentPolicy(nonce: string): string {
  return `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
}

export function approvalPage({ info, jobId, resume, cancel }: Page, nonce: string): string {
  const isAsked = typeof info !== 'string'
  const title = isAsked ? (info.step_summary ?? info.path) : `Job ${jobId}`
  const refuses = isAsked && info.hide_cancel ? '' : `<button type="button" data-url="${escaped(cancel)}">Refuse</button>`
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>${escaped(title)}</title>
<style nonce="${nonce}">${style}</style>
<main><h1>${escaped(title)}</h1>
${isAsked ? asked(info) : `<p>${escaped(info)}. (An answer that is given before the step waits is kept for it.)</p>`}
<form>${isAsked ? fields(info).map(field).join('') : ''}
<p><button type="button" data-url="${escaped(resume)}">Approve</button> ${refuses}</p></form>
<p id="said" role="status"></p></main>
<script nonce="${nonce}">${script}</script></html>
`
}

function asked(info: ApprovalInfo): string {
  const { description, approvers, wanted, until, path, flow_id, can_approve, approval_conditions: asks } = info
  const text = typeof description === 'string' ? `<p>${escaped(description)}</p>` : shownJson(description)
  const groups = asks.user_groups_required
  const members = membersOf(groups)
  const who = escaped(asks.self_approval_disabled ? `${members} who did not start this job` : members)
  let login = ''
  if (!can_approve) login = `<p><strong>Only ${who} may answer, logged in (a token as the cookie “token”).</strong></p>`
  else if (groups.length > 0) login = `<p>Only ${who} may answer.</p>`
  const given = approvers.length === 0 ? '' : ` Answered so far: ${escaped(approvers.map((one) => one.approver).join(', '))}.`
  return `${text}${login}<p class="faint">${escaped(path)}, job ${escaped(flow_id)}. ${wanted} answer${wanted === 1 ? '' : 's'} wanted until ${until.toISOString()}.${given}</p>`
}

function shownJson(value: unknown): string {
  return value === undefined || value === null ? '' : `<pre>${escaped(JSON.stringify(value, null, 2))}</pre>`
}

function fields({ form_schema, default_args }: ApprovalInfo): [string, Field][] {
  const properties = (form_schema as { properties?: Record<string, Field> } | undefined)?.properties
  if (typeof properties !== 'object' || properties === null) return []
  const given = (typeof default_args === 'object' ? default_args : null) as Record<string, unknown> | null
  return Object.entries(properties).map(([name, one]) => [name, { ...one, default: given?.[name] ?? one?.default }])
}

function field([name, { type, title, description, default: preset, enum: choices }]: [string, Field]): string {
  const about = `data-name="${escaped(name)}" data-type="${escaped(choices ? 'json' : (type ?? 'json'))}"`
  const value = escaped(
    preset === undefined ? '' : typeof preset === 'string' && type === 'string' ? preset : JSON.stringify(preset),
  )
  let input: string
  if (choices) {
    const options = choices.map((one) => {
      const chosen = JSON.stringify(one) === JSON.stringify(preset) ? ' selected' : ''
      return `<option value="${escaped(JSON.stringify(one))}"${chosen}>${escaped(String(one))}</option>`
    })
    input = `<select ${about}>${options.join('')}</select>`
  } else if (type === 'boolean') input = `<input type="checkbox" ${about}${preset === true ? ' checked' : ''}>`
  else if (type === 'number' || type === 'integer') input = `<input type="number" step="any" ${about} value="${value}">`
  else if (type === 'string') input = `<input ${about} value="${value}">`
  else input = `<textarea rows="4" ${about} placeholder="JSON">${value}</textarea>`
  const note = description ? `<small>${escaped(description)}</small>` : ''
  return `<label><span>${escaped(title ?? name)}</span>${input}${note}</label>`
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`)
}

const style = `
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: #1d2125; background: #f6f7f8 }
main { max-width: 40rem; margin: 3rem auto; padding: 1.5rem 2rem; background: #fff; border: 1px solid #dfe2e5; border-radius: 8px }
h1 { font-size: 1.3rem } .faint, small { color: #626b74 } pre { overflow: auto; background: #f6f7f8; padding: .7rem }
label { display: block; margin: .8rem 0 } label span, label small { display: block } input:not([type=checkbox]), select, textarea { font: inherit; width: 100%; box-sizing: border-box }
button { font: inherit; padding: .4rem 1.2rem }
@media (prefers-color-scheme: dark) { body { color: #e3e6e8; background: #16191c } main { background: #1d2125; border-color: #3a4148 } .faint, small { color: #9aa3ab } pre { background: #16191c } }
`

/** Sends what the fields hold as JSON; without fields, nothing. */
const script = `
const said = document.getElementById('said')
const valueOf = (input) => {
  const { type } = input.dataset
  if (type === 'boolean') return input.checked
  if (type === 'string') return input.value
  if (input.value.trim() === '') return null
  return type === 'number' || type === 'integer' ? Number(input.value) : JSON.parse(input.value)
}
for (const button of document.querySelectorAll('button')) button.onclick = async () => {
  const payload = {}
  for (const input of document.querySelectorAll('[data-name]')) {
    try { payload[input.dataset.name] = valueOf(input) } catch { said.textContent = input.dataset.name + ' is not JSON'; return }
  }
  const body = Object.keys(payload).length === 0 ? undefined : JSON.stringify(payload)
  for (const other of document.querySelectorAll('button')) other.disabled = true
  said.textContent = 'sending …'
  try {
    const answer = await fetch(button.dataset.url, { method: 'POST', headers: body ? { 'content-type': 'application/json' } : {}, body })
    const text = await answer.text()
    if (answer.ok) { said.textContent = 'Thank you: ' + text; return }
    said.textContent = JSON.parse(text).error.message
  } catch { said.textContent = 'That did not arrive; try again.' }
  for (const other of document.querySelectorAll('button')) other.disabled = false
}
`
