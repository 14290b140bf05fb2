//! The committed documents are what the program writes, and say what the program does.

use std::collections::BTreeSet;

use polylogue::config::PublicUrl;
use polylogue::http::api::OPERATIONS;
use polylogue::http::asyncapi;
use polylogue::http::document::{CLIENT_RULE, openapi_30, openapi_31, text};
use polylogue::words::{ErrorCode, EventBody};
use serde_json::Value;

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

/// Calls `with` for every object of the tree.
fn walk(value: &Value, with: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, with)),
        Value::Object(members) => {
            with(members);
            members.values().for_each(|member| walk(member, with));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn references(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(document, &mut |members| {
        found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
    });
    found
}

#[test]
fn the_committed_openapi_document_is_up_to_date() {
    let committed = include_str!("../../../openapi/openapi.json");
    assert!(
        committed == text(&openapi_31(None)),
        "write it again: cargo run -- openapi > openapi/openapi.json"
    );
}

#[test]
fn the_committed_asyncapi_document_is_up_to_date() {
    let committed = include_str!("../../../openapi/asyncapi.yaml");
    assert!(
        committed == asyncapi::yaml(None),
        "write it again: cargo run -- openapi --asyncapi > openapi/asyncapi.yaml"
    );
}

#[test]
fn the_names_of_the_operations_never_change() {
    let document = openapi_31(None);
    let mut documented: Vec<_> = operations(&document)
        .into_iter()
        .map(|(method, path, operation)| {
            (method, path, operation["operationId"].as_str().unwrap().to_owned())
        })
        .collect();
    let mut known: Vec<_> =
        OPERATIONS.iter().map(|(m, p, id)| (m.to_string(), p.to_string(), id.to_string())).collect();
    // Served by the socket's module.
    known.push(("POST".into(), "/api/v1/chat/ws/tickets".into(), "createTicket".into()));
    documented.sort();
    known.sort();
    assert_eq!(documented, known);

    let ids: Vec<_> = OPERATIONS.iter().map(|(.., id)| *id).collect();
    let frozen = [
        "createChat",
        "streamChat",
        "startTurn",
        "getTurn",
        "streamTurnEvents",
        "cancelTurn",
        "listConversations",
        "getConversation",
        "deleteConversation",
        "listMessages",
        "addMessage",
        "listPersonas",
        "getPersona",
    ];
    assert_eq!(ids, frozen);
}

#[test]
fn every_reference_leads_somewhere() {
    for document in [openapi_31(None), openapi_30(None), asyncapi::document(None)] {
        for reference in references(&document) {
            let found = document.pointer(reference.trim_start_matches('#'));
            assert!(found.is_some_and(|found| !found.is_null()), "{reference}");
        }
    }
}

#[test]
fn every_component_is_used() {
    for document in [openapi_31(None), openapi_30(None), asyncapi::document(None)] {
        let used: BTreeSet<_> = references(&document).into_iter().collect();
        for (kind, components) in document["components"].as_object().unwrap() {
            for name in components.as_object().unwrap().keys() {
                let required = document.to_string().contains(&format!("{{\"{name}\":[]}}"));
                let is_used = used.contains(&format!("#/components/{kind}/{name}"));
                assert!(is_used || (kind == "securitySchemes" && required), "{kind} {name}");
            }
        }
    }
}

#[test]
fn every_answer_that_belongs_to_a_turn_says_where_it_is() {
    let document = openapi_31(None);
    for (_, path, operation) in operations(&document) {
        let starts =
            ["createChat", "streamChat", "startTurn"].contains(&operation["operationId"].as_str().unwrap());
        for (status, response) in operation["responses"].as_object().unwrap() {
            let may_have_a_turn = starts && (status < &"300".to_owned() || status >= &"500".to_owned());
            for name in ["Location", "Turn-Id", "Idempotent-Replayed"] {
                let is_told = response["headers"].get(name).is_some();
                assert!(is_told || !may_have_a_turn, "{path} {status} {name}");
            }
        }
    }
}

#[test]
fn the_older_document_has_no_words_of_the_newer_one() {
    let document = openapi_30(None);
    assert_eq!(document["openapi"], "3.0.3");
    for newer in ["jsonSchemaDialect", "\"const\"", "propertyNames", "dependentSchemas", "identifier"] {
        assert!(!document.to_string().contains(newer), "{newer}");
    }
    walk(&document, &mut |members| {
        assert!(!members.contains_key("$ref") || members.len() == 1, "{members:?}")
    });
}

#[test]
fn every_operation_lists_its_errors_as_problems() {
    let mut told = BTreeSet::new();
    for (method, path, operation) in operations(&openapi_31(None)) {
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            let content = response["content"].as_object().unwrap();
            assert_eq!(
                content.keys().collect::<Vec<_>>(),
                ["application/problem+json"],
                "{method} {path} {status}"
            );
            let codes = &response["headers"]["Problem-Code"]["schema"]["x-extensible-enum"];
            for code in codes.as_array().unwrap() {
                let code = ErrorCode::ALL.iter().find(|known| known.as_str() == code).unwrap();
                assert_eq!(code.status().to_string(), *status);
                told.insert(code.as_str());
            }
        }
        for status in ["429", "500"] {
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        let body = operation.get("requestBody").is_some();
        assert_eq!(body, responses.contains_key("415"), "{method} {path}");
        assert_eq!(body, responses.contains_key("413"), "{method} {path}");
    }
    // What only the edge, the socket and authentication say.
    let elsewhere = [
        "unsupported_subprotocol",
        "unauthenticated",
        "forbidden",
        "origin_not_allowed",
        "not_found",
        "method_not_allowed",
        "upgrade_required",
    ];
    let all: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let missing: Vec<_> = all.difference(&told).filter(|code| !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn media_types_have_no_parameters_and_lists_that_may_grow_are_plain_strings() {
    for document in [openapi_31(None), openapi_30(None)] {
        let text = document.to_string();
        for left in
            ["charset", "event-stream\",\"format", "x-open", "nullable", "\"format\":\"event-stream\""]
        {
            assert!(!text.contains(left), "{left}");
        }
        walk(&document, &mut |members| {
            if members.contains_key("x-extensible-enum") {
                assert_eq!(members["type"], "string");
                assert!(!members.contains_key("enum"));
            }
        });
    }
}

#[test]
fn every_event_has_a_schema_of_its_name_with_a_constant_type() {
    let document = openapi_31(None);
    let mapping = &document["components"]["schemas"]["TurnEvent"]["discriminator"]["mapping"];
    assert_eq!(mapping.as_object().unwrap().len(), EventBody::NAMES.len());
    for name in EventBody::NAMES {
        let title = |part: &str| part[..1].to_uppercase() + &part[1..];
        let expected = format!("{}Event", name.split('.').map(title).collect::<String>());
        assert_eq!(mapping[name], format!("#/components/schemas/{expected}"));
        assert_eq!(document["components"]["schemas"][&expected]["properties"]["type"]["const"], name);
    }
    let events = "/paths/~1api~1v1~1chat~1stream/post/responses/200/content/text~1event-stream/schema";
    let stream = document.pointer(events).unwrap();
    assert_eq!(stream["type"], "string");
    assert_eq!(stream["x-event-schema"]["$ref"], "#/components/schemas/TurnEvent");
}

#[test]
fn every_frame_is_a_message_named_as_its_type() {
    let document = asyncapi::document(None);
    let messages = document["components"]["messages"].as_object().unwrap();
    for (name, message) in messages {
        let payload = message["payload"]["$ref"].as_str().unwrap();
        let schema = document.pointer(payload.trim_start_matches('#')).unwrap();
        assert_eq!(schema["properties"]["type"]["const"], *name);
        assert_eq!(schema["required"][0], "type");
    }
    for event in EventBody::NAMES {
        let schema = messages[event]["payload"]["$ref"].as_str().unwrap();
        let schema = document.pointer(schema.trim_start_matches('#')).unwrap();
        assert_eq!(schema["required"][1], "ref", "{event}");
    }
    assert_eq!(messages.len(), 5 + 6 + EventBody::NAMES.len());
}

#[test]
fn the_rule_for_clients_stands_in_both_documents() {
    assert!(openapi_31(None)["info"]["description"].as_str().unwrap().contains(CLIENT_RULE));
    assert!(asyncapi::document(None)["info"]["description"].as_str().unwrap().contains(CLIENT_RULE));
}

#[test]
fn links_begin_at_the_public_address() {
    let public: PublicUrl = "https://example.org/polylogue".to_owned().try_into().unwrap();
    assert_eq!(openapi_31(Some(&public))["servers"][0]["url"], "https://example.org/polylogue");
    let server = &asyncapi::document(Some(&public))["servers"]["public"];
    assert_eq!((&server["host"], &server["pathname"]), (&"example.org".into(), &"/polylogue".into()));
    assert_eq!(server["protocol"], "wss");
}

#[test]
fn the_yaml_reads_back_as_what_was_written() {
    let back: Value = serde_saphyr::from_str(&asyncapi::yaml(None)).expect("the document is YAML");
    assert_eq!(back, asyncapi::document(None));
}
