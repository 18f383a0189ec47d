//! Gives the stock Bochs the PMU of pmu_model.
