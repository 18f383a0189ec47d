//! Tests of the policy domain from outside; see the folder "tests".
#![no_std]
