//! The suite that every store passes, on each kind of engine.

mod redis {
    use cloakroom_store_test::suite;
    use engines::Redis;

    use crate::fixture::Place;

    suite!(Place::<Redis>::new(), durable, shared, without: sweep);
}

mod valkey {
    use cloakroom_store_test::suite;
    use engines::Valkey;

    use crate::fixture::Place;

    suite!(Place::<Valkey>::new(), durable, shared, without: sweep);
}

mod cluster {
    use cloakroom_store_test::suite;
    use engines::RedisCluster;

    use crate::fixture::Place;

    suite!(Place::<RedisCluster>::new(), durable, shared, without: sweep);
}
