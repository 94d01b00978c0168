#[test]
#[ignore = "assembles by hand"]
fn by_hand() {
    let kernel = std::env::var("TEST_KERNEL").unwrap();
    let appliance =
        super::build(&super::Inputs::with_kernel(kernel), std::env::var("TEST_OUT").unwrap().as_ref())
            .unwrap();
    println!("{} {:?}", appliance.description.key, appliance.description.absent);
}
