//! What a model is told.

use super::personas::{Context, Persona, Personas};
use crate::llm::{PromptLine, PromptRole};
use crate::words::{Message, Role};

/// The prompt of one persona: its instructions, what was said before as far as it may see it, and the user's message.
/// Its own words come as the assistant's; those of others as the user's, with the speaker's name before them, because
/// models know two sides only.
pub fn of_reply(
    persona: &Persona,
    personas: &Personas,
    history: &[Message],
    message: &str,
) -> Vec<PromptLine> {
    let mut prompt = vec![line(PromptRole::System, instructions(persona, personas))];
    for said in history {
        match (said.role, &said.persona) {
            (Role::User, _) => prompt.push(line(PromptRole::User, said.content.clone())),
            (Role::Assistant, speaker) if speaker.is_none() || speaker.as_ref() == Some(&persona.id) => {
                prompt.push(line(PromptRole::Assistant, said.content.clone()));
            }
            (Role::Assistant, _) if persona.context == Context::Own => {}
            (Role::Assistant, speaker) => {
                let name = speaker
                    .as_ref()
                    .map_or("Somebody", |id| personas.find(id).map_or(id.as_str(), |p| &p.name));
                prompt.push(line(PromptRole::User, format!("{name} said: {}", said.content)));
            }
        }
    }
    prompt.push(line(PromptRole::User, message.to_owned()));
    prompt
}

fn instructions(persona: &Persona, personas: &Personas) -> String {
    let others: Vec<_> = personas
        .all()
        .iter()
        .filter(|other| other.id != persona.id)
        .map(|other| other.name.as_str())
        .collect();
    if others.is_empty() || persona.context == Context::Own {
        return persona.system_prompt.trim().to_owned();
    }
    format!(
        "{}\n\nYou are one of several voices in this conversation; the others are {}. Speak only as {}, without writing your name first.",
        persona.system_prompt.trim(),
        others.join(", "),
        persona.name
    )
}

/// The question which personas should answer.
pub fn of_routing(personas: &Personas, history: &[Message], message: &str, most: usize) -> Vec<PromptLine> {
    let mut list = String::new();
    for persona in personas.all() {
        list.push_str(&format!("- {}: {}\n", persona.id, persona.description));
    }
    let system = format!(
        "You decide who answers a message. The personas, as `id: what it is good at`:\n{list}\
         Choose the fewest that serve the user well: usually one, at most {most}, the most important first. \
         Answer with JSON only: the chosen ids in `personas`, and one short sentence why in `reason`."
    );
    let mut prompt = vec![line(PromptRole::System, system)];
    let before = history.len().saturating_sub(ROUTING_HISTORY);
    for said in &history[before..] {
        let speaker = match (said.role, &said.persona) {
            (Role::User, _) => "user",
            (Role::Assistant, Some(id)) => id.as_str(),
            (Role::Assistant, None) => "assistant",
        };
        let short: String = said.content.chars().take(ROUTING_EXCERPT).collect();
        prompt.push(line(PromptRole::User, format!("Earlier, {speaker} said: {short}")));
    }
    let short: String = message.chars().take(ROUTING_MESSAGE).collect();
    prompt.push(line(PromptRole::User, format!("The message:\n{short}")));
    prompt
}

/// How much routing reads: enough to know the subject, little enough to be fast.
const ROUTING_HISTORY: usize = 4;
const ROUTING_EXCERPT: usize = 300;
const ROUTING_MESSAGE: usize = 4000;

/// One more line for a second attempt at a structured answer: what was wrong with the first.
pub fn repair(fault: &str) -> PromptLine {
    line(
        PromptRole::User,
        format!("Your answer could not be used: {fault}. Answer again, with JSON of the given schema only."),
    )
}

fn line(role: PromptRole, content: String) -> PromptLine {
    PromptLine { role, content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{MessageId, PersonaId, Timestamp, new_ulid};

    fn said(role: Role, persona: Option<&str>, content: &str) -> Message {
        let persona = persona.map(|id| id.parse::<PersonaId>().unwrap());
        let id = MessageId(new_ulid(1));
        Message { id, role, persona, content: content.into(), created_at: Timestamp::now(), cancelled: false }
    }

    #[test]
    fn a_persona_sees_others_as_others_and_itself_as_itself() {
        let personas = Personas::load(None, None).unwrap();
        let history = [
            said(Role::User, None, "was Troy real?"),
            said(Role::Assistant, Some("historian"), "Yes."),
            said(Role::Assistant, Some("skeptic"), "Perhaps."),
        ];
        let prompt = of_reply(&personas.all()[1], &personas, &history, "why?");
        let seen: Vec<_> = prompt[1..].iter().map(|line| (line.role, line.content.as_str())).collect();
        assert_eq!(
            seen,
            [
                (PromptRole::User, "was Troy real?"),
                (PromptRole::User, "Historian said: Yes."),
                (PromptRole::Assistant, "Perhaps."),
                (PromptRole::User, "why?"),
            ]
        );
    }

    #[test]
    fn a_persona_with_its_own_context_does_not_see_what_others_said() {
        let personas = Personas::load(None, None).unwrap();
        let alone = Persona { context: Context::Own, ..personas.all()[1].clone() };
        let history = [said(Role::Assistant, Some("historian"), "Yes.")];
        let prompt = of_reply(&alone, &personas, &history, "why?");
        assert_eq!(prompt.len(), 2);
        assert!(!prompt[0].content.contains("Historian"));
    }
}
