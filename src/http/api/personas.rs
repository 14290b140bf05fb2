//! Who can be asked.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::asked::{Asked, known};
use crate::chat::ChatError;
use crate::http::problem::Problem;
use crate::http::wire::{self, Documented, Sent};
use crate::words::PersonaId;

#[derive(ApiResponse)]
enum Listed {
    /// Everybody who can be asked.
    #[oai(status = 200)]
    Personas(Documented<wire::PersonaList, wire::PersonaList>),
}

#[derive(ApiResponse)]
enum Found {
    /// The persona.
    #[oai(status = 200)]
    Persona(Documented<wire::Persona, wire::Persona>),
}

pub(super) struct PersonasApi;

#[OpenApi(tag = "Tag::Personas")]
impl PersonasApi {
    /// List the personas
    #[oai(path = "/personas", method = "get", operation_id = "listPersonas")]
    async fn list_personas(&self, asked: Asked) -> poem::Result<Listed> {
        let data = asked.services.chat.personas(&asked.caller()).into_iter().map(Into::into).collect();
        Ok(Listed::Personas(Documented::new(wire::PersonaList { data })))
    }

    /// Read a persona
    #[oai(path = "/personas/:id", method = "get", operation_id = "getPersona")]
    async fn get_persona(
        &self,
        asked: Asked,
        /// The persona.
        id: Path<Sent<PersonaId>>,
    ) -> poem::Result<Found> {
        let id: PersonaId = known(&id.text, ChatError::PersonaNotFound)?;
        let found = asked.services.chat.persona(&asked.caller(), &id);
        Ok(Found::Persona(Documented::new(found.map_err(Problem::from)?.into())))
    }
}
