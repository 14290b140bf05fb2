//! A turn whose every owner crashes is given up.

use polylogue::simulator::Rule;
use serde_json::json;

use super::Service;
use super::witness::{ask, epochs, in_time, log, next_owner};
use crate::support::replicas::{Replicas, Wanderer};

#[tokio::test]
async fn a_turn_whose_every_owner_crashes_is_given_up() {
    let service = Service::start(&[]).await;
    service.model.rules([Rule::says(["It ", "was."]).pausing_after(1)]);
    let turn = service.replicas[0].client.start_turn(ask("c")).await;
    let mut wanderer = Wanderer::new(Replicas::seed(), &service.replicas.addresses());
    let kills = async {
        let (mut owner, mut epoch) = (0, 1);
        for left in (0..4).rev() {
            in_time("its owner asks the model", async || service.model.stats().in_flight == 2).await;
            service.replicas[owner].kill_9();
            in_time("nobody asks it", async || service.model.stats().in_flight == 0).await;
            service.replicas[owner].restart().await;
            if left > 0 {
                (owner, epoch) = next_owner(&service, &turn, epoch).await;
            }
        }
    };
    let (tale, ()) = tokio::join!(wanderer.follow(&turn), kills);

    for replica in service.replicas.iter() {
        let log = log(replica, &turn).await;
        tale.must_agree_with(&log);
        let end = log.last().unwrap();
        assert_eq!((end.name.as_str(), &end.data["error"]["code"]), ("turn.failed", &json!("internal")));
        assert_eq!(epochs(&log), 5, "its first owner, three more, and the one that gave it up");
        assert!(replica.client.get("/api/v1/conversations/c").await.body["active_turn_id"].is_null());
    }
    assert_eq!(service.model.stats().requests, 8, "two personas, four owners");
    // The fleet is unharmed, and the conversation goes on.
    service.model.rules([]);
    let next = service.replicas[1].client.start_turn(ask("c")).await;
    assert_eq!(service.replicas[2].ended(&next).await["status"], "completed");
}
